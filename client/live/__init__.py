"""The device's side of a live federation: enrolment, SuperNode, worker and what keeps both running."""
