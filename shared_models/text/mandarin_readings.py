"""Readings that pypinyin's phrases lack or have wrong: neutral tones, surnames, words; numbered pinyin."""

from __future__ import annotations

_NEUTRAL = (
    "先生 东西 朋友 学生 认识 知道 明白 漂亮 衣服 事情 时候 地方 便宜 告诉 休息 消息 豆腐 葡萄 萝卜 窗户 "
    "客气 舒服 暖和 热闹 清楚 意思 打听 打算 商量 麻烦 喜欢 眼睛 耳朵 头发 月亮 媳妇 丈夫 云彩 力气 困难 "
    "脾气 本事 名字 点心 风筝 骆驼 玻璃 钥匙 护士 规矩 聪明 糊涂 结实 马虎 凉快 亲戚 这么 那么 什么 怎么 "
    "多么 我们 你们 他们 她们 它们 咱们 人们 孩子 儿子 妻子 桌子 椅子 房子 车子 鼻子 肚子 裤子 帽子 鞋子 "
    "杯子 盘子 筷子 瓶子 样子 日子 句子 院子 屋子 孙子 嫂子 胖子 影子 石头 木头 里头 外头 上头 下头 前头 "
    "后头 舌头 骨头 馒头 枕头 看看 谢谢 试试 想想 说说 听听 走走 太太 妈妈 爸爸 爷爷 奶奶 哥哥 姐姐 弟弟 "
    "妹妹 叔叔 舅舅 姑姑 婶婶 星星 宝宝 娃娃 觉得 记得 晓得 懂得 显得 值得 舍得 省得 免得 行李 苍蝇 蛤蟆 "
    "芝麻 粮食 庄稼 牲口 胳膊 指甲 屁股 嘴巴 下巴 尾巴 巴掌 拳头 大夫 木匠 裁缝 师傅 姑娘 小伙子 老婆 "
    "老爷 少爷 伙计 掌柜 和尚 道士 神仙 妖怪 鬼子 动静 动弹 折腾 耽误 招呼 答应 打扮 收拾 拾掇 琢磨 嘱咐 "
    "吩咐 咳嗽 打发 养活 应付 称呼 招待 体面 实在 老实 厉害 利害 厚道 大方 小气 阔气 秀气 机灵 能耐 功夫 "
    "工夫 故事 笑话 学问 算盘 扫帚 簸箕 灯笼 胭脂 石榴 核桃 柿子 栗子 橘子 包子 饺子 粽子 麻利 利落 利索 "
    "干净 安稳 新鲜 稀罕 宽敞 亮堂 白净 交情 买卖 生意 早上 晚上 消停 队伍 牌楼 首饰 戒指 帐篷 棉花 唾沫 "
    "疙瘩 窟窿 念头 码头 罐头 丫头 锄头 跟头 甜头 苦头 盼头"
)
NEUTRAL_SECOND = frozenset(_NEUTRAL.split())
"""Words whose last syllable is in the neutral tone."""
WORDS = {
    "简朴": "jian3 pu3", "朴素": "pu3 su4", "大夫": "dai4 fu5", "还书": "huan2 shu1", "还钱": "huan2 qian2",
    "还给": "huan2 gei3", "倒下": "dao3 xia4", "倒水": "dao4 shui3", "睡着了": "shui4 zhao2 le5",
    "睡着": "shui4 zhao2", "找着了": "zhao3 zhao2 le5", "着火": "zhao2 huo3", "着凉": "zhao2 liang2",
    "着急": "zhao2 ji2", "一会儿": "yi2 huir4", "差不多": "cha4 bu5 duo1", "暖和": "nuan3 huo5",
    "朝阳区": "chao2 yang2 qu1", "重庆": "chong2 qing4", "长大": "zhang3 da4", "长得": "zhang3 de5",
    "长高": "zhang3 gao1", "长满": "zhang3 man3", "生长": "sheng1 zhang3", "校长": "xiao4 zhang3",
    "班长": "ban1 zhang3", "家长": "jia1 zhang3", "队长": "dui4 zhang3", "长短": "chang2 duan3",
    "行长": "hang2 zhang3", "银行": "yin2 hang2", "济南": "ji3 nan2", "人参": "ren2 shen1",
    "露馅": "lou4 xian4", "薄饼": "bao2 bing3", "很薄": "hen3 bao2", "血压": "xue4 ya1", "流血": "liu2 xue4",
    "出血": "chu1 xue4", "种地": "zhong4 di4", "种田": "zhong4 tian2", "数钱": "shu3 qian2",
    "数一数": "shu3 yi5 shu3", "倒车": "dao4 che1", "率领": "shuai4 ling3", "答应": "da1 ying5",
    "钻石": "zuan4 shi2", "钻研": "zuan1 yan2", "教书": "jiao1 shu1", "教我": "jiao1 wo3", "教他": "jiao1 ta1",
    "教会": "jiao1 hui4", "弹琴": "tan2 qin2", "弹钢琴": "tan2 gang1 qin2", "子弹": "zi3 dan4",
    "炸鸡": "zha2 ji1", "炸弹": "zha4 dan4", "爆炸": "bao4 zha4", "强迫": "qiang3 po4", "勉强": "mian3 qiang3",
    "倔强": "jue2 jiang4", "供不应求": "gong1 bu2 ying4 qiu2", "应该": "ying1 gai1", "调整": "tiao2 zheng3",
    "调节": "tiao2 jie2", "调料": "tiao2 liao4", "协调": "xie2 tiao2", "强调": "qiang2 diao4",
    "有空调": "you3 kong1 tiao2", "调皮": "tiao2 pi2", "空调": "kong1 tiao2", "空出": "kong4 chu1",
    "有空": "you3 kong4", "没空": "mei2 kong4", "抽空": "chou1 kong4", "转圈": "zhuan4 quan1",
    "转动": "zhuan4 dong4", "旋转": "xuan2 zhuan3", "转了": "zhuan4 le5", "参差": "cen1 ci1",
    "出差": "chu1 chai1", "差距": "cha1 ju4", "差点": "cha4 dian3", "扎营": "zha1 ying2",
    "挣扎": "zheng1 zha2", "包扎": "bao1 za1", "背书包": "bei1 shu1 bao1", "背着": "bei1 zhe5",
    "背诵": "bei4 song4", "背包": "bei1 bao1", "一行字": "yi4 hang2 zi4", "一行人": "yi4 xing2 ren2",
    "中奖": "zhong4 jiang3", "击中": "ji1 zhong4", "看中": "kan4 zhong4", "打中": "da3 zhong4",
    "中毒": "zhong4 du2", "好学": "hao4 xue2", "爱好": "ai4 hao4", "难民": "nan4 min2", "灾难": "zai1 nan4",
    "盛饭": "cheng2 fan4", "曲折": "qu1 zhe2", "歌曲": "ge1 qu3", "折断": "zhe2 duan4", "散步": "san4 bu4",
    "散文": "san3 wen2", "似的": "shi4 de5", "模样": "mu2 yang4", "宁可": "ning4 ke3", "宁愿": "ning4 yuan4",
    "降落": "jiang4 luo4", "投降": "tou2 xiang2", "落下": "luo4 xia4", "丢三落四": "diu1 san1 la4 si4",
    "落枕": "lao4 zhen3", "尽快": "jin3 kuai4", "尽量": "jin3 liang4", "尽头": "jin4 tou2",
    "量体温": "liang2 ti3 wen1", "称职": "chen4 zhi2", "匀称": "yun2 chen4", "相片": "xiang4 pian4",
    "相声": "xiang4 sheng5", "照相": "zhao4 xiang4", "削苹果": "xiao1 ping2 guo3", "剥削": "bo1 xue1",
    "剥皮": "bao1 pi2", "给予": "ji3 yu3", "供给": "gong1 ji3", "角色": "jue2 se4", "主角": "zhu3 jue2",
    "卷子": "juan4 zi5", "咽喉": "yan1 hou2", "哽咽": "geng3 ye4", "呕吐": "ou3 tu4", "吐痰": "tu3 tan2",
    "晕车": "yun4 che1", "晕倒": "yun1 dao3", "载重": "zai4 zhong4", "记载": "ji4 zai3", "症结": "zheng1 jie2",
    "正月": "zheng1 yue4", "传记": "zhuan4 ji4", "自传": "zi4 zhuan4", "提防": "di1 fang5",
    "屏息": "bing3 xi1", "便秘": "bian4 mi4", "大王": "da4 wang2", "和面": "huo2 mian4", "附和": "fu4 he4",
    "什锦": "shi2 jin3", "空白": "kong4 bai2", "只见": "zhi3 jian4", "船只": "chuan2 zhi1", "几乎": "ji1 hu1",
    "更加": "geng4 jia1", "更新": "geng1 xin1", "处理": "chu3 li3", "处于": "chu3 yu2",
    "办事处": "ban4 shi4 chu4", "分外": "fen4 wai4", "过分": "guo4 fen4", "假装": "jia3 zhuang1",
    "请假": "qing3 jia4", "放假": "fang4 jia4", "间隔": "jian4 ge2", "间断": "jian4 duan4", "累积": "lei3 ji1",
    "劳累": "lao2 lei4", "果实累累": "guo3 shi2 lei2 lei2", "禁不住": "jin1 bu5 zhu4", "不禁": "bu4 jin1",
    "冠军": "guan4 jun1", "切菜": "qie1 cai4", "一切": "yi2 qie4", "亲切": "qin1 qie4", "兴奋": "xing1 fen4",
    "高兴": "gao1 xing4", "旅行": "lü3 xing2", "行业": "hang2 ye4", "排行": "pai2 hang2", "要求": "yao1 qiu2",
    "与会": "yu4 hui4", "参与": "can1 yu4", "占卜": "zhan1 bu3", "涨红": "zhang4 hong2", "着落": "zhuo2 luo4",
    "衣着": "yi1 zhuo2", "穿着": "chuan1 zhuo2", "看着": "kan4 zhe5", "看门": "kan1 men2", "看家": "kan1 jia1",
    "撒谎": "sa1 huang3", "撒种": "sa3 zhong3", "宿舍": "su4 she4", "舍不得": "she3 bu5 de5",
    "住宿": "zhu4 su4", "反省": "fan3 xing3", "节省": "jie2 sheng3", "畜牧": "xu4 mu4", "家畜": "jia1 chu4",
    "挑战": "tiao3 zhan4", "挑水": "tiao1 shui3", "挑选": "tiao1 xuan3", "粘贴": "zhan1 tie1",
    "粘土": "nian2 tu3", "曝光": "bao4 guang1", "埋怨": "man2 yuan4", "一塌糊涂": "yi4 ta1 hu2 tu2",
    "好处": "hao3 chu4", "为难": "wei2 nan2", "认为": "ren4 wei2", "成为": "cheng2 wei2", "因为": "yin1 wei4",
    "称为": "cheng1 wei2", "作为": "zuo4 wei2", "以为": "yi3 wei2", "为了": "wei4 le5",
    "不得不": "bu4 de2 bu4", "怪不得": "guai4 bu5 de5", "巴不得": "ba1 bu5 de5", "了不起": "liao3 bu5 qi3",
    "不得了": "bu4 de2 liao3", "对不起": "dui4 bu5 qi3", "干活": "gan4 huo2", "干净": "gan1 jing4",
    "能干": "neng2 gan4", "干燥": "gan1 zao4", "发现": "fa1 xian4", "理发": "li3 fa4", "发型": "fa4 xing2",
    "没收": "mo4 shou1", "淹没": "yan1 mo4", "石头": "shi2 tou5", "尺寸": "chi3 cun5", "不一": "bu4 yi1",
    "蓝色": "lan2 se4", "掉色": "diao4 shai3", "色子": "shai3 zi5", "熨斗": "yun4 dou3", "给我": "gei3 wo3",
    "子弟": "zi3 di4", "女子": "nü3 zi3", "男子": "nan2 zi3", "分子": "fen1 zi3", "电子": "dian4 zi3",
    "原子": "yuan2 zi3", "王子": "wang2 zi3", "种子": "zhong3 zi5", "亲子": "qin1 zi3", "母子": "mu3 zi3",
    "父子": "fu4 zi3", "孔子": "kong3 zi3", "老子": "lao3 zi3", "因子": "yin1 zi3", "粒子": "li4 zi3",
    "弟子": "di4 zi3", "君子": "jun1 zi3", "太子": "tai4 zi3", "吉野家": "ji2 ye3 jia1",
    "离子": "li2 zi3", "质子": "zhi4 zi3", "中子": "zhong1 zi3", "光子": "guang1 zi3", "量子": "liang4 zi3",
    "算子": "suan4 zi3", "子空间": "zi3 kong1 jian1", "子集": "zi3 ji2", "子公司": "zi3 gong1 si1",
    "教子": "jiao4 zi3", "养子": "yang3 zi3", "长子": "zhang3 zi3", "次子": "ci4 zi3", "庄子": "zhuang1 zi3",
    "孟子": "meng4 zi3", "皇子": "huang2 zi3", "独生子女": "du2 sheng1 zi3 nü3", "子系统": "zi3 xi4 tong3",
    "风靡": "feng1 mi3", "披靡": "pi1 mi3", "萎靡": "wei3 mi3", "高句丽": "gao1 gou1 li2", "句践": "gou1 jian4",
    "彼得": "bi3 de2", "得州": "de2 zhou1", "得克萨斯": "de2 ke4 sa4 si1", "曲阜": "qu1 fu4",
    "了结案": "le5 jie2 an4", "了结果": "le5 jie2 guo3", "了结婚": "le5 jie2 hun1", "了结论": "le5 jie2 lun4",
    "了结构": "le5 jie2 gou4", "结果子": "jie1 guo3 zi5", "边塞": "bian1 sai4", "要塞": "yao4 sai4",
    "塞外": "sai4 wai4", "塞班": "sai4 ban1", "瓶塞": "ping2 sai1", "塞车": "sai1 che1", "堵塞": "du3 se4",
    "闭塞": "bi4 se4", "阻塞": "zu3 se4", "栓塞": "shuan1 se4", "茅塞顿开": "mao2 se4 dun4 kai1",
    "称脚": "chen4 jiao3", "称心": "chen4 xin1", "称身": "chen4 shen1", "对称": "dui4 chen4",
    "邮差": "you2 chai1", "差事": "chai1 shi5", "差遣": "chai1 qian3", "钦差": "qin1 chai1", "交差": "jiao1 chai1",
    "看守": "kan1 shou3", "看护": "kan1 hu4", "看管": "kan1 guan3", "懒散": "lan3 san3", "松散": "song1 san3",
    "散漫": "san3 man4", "散装": "san3 zhuang1", "调音": "tiao2 yin1", "调味": "tiao2 wei4", "调试": "tiao2 shi4",
    "测量": "ce4 liang2", "衡量": "heng2 liang2", "量身": "liang2 shen1", "弹奏": "tan2 zou4", "反弹": "fan3 tan2",
    "弹性": "tan2 xing4", "弹簧": "tan2 huang2", "弹弓": "dan4 gong1", "数次": "shu4 ci4", "若干": "ruo4 gan1",
    "调大": "tiao2 da4", "调小": "tiao2 xiao3", "调高": "tiao2 gao1", "调低": "tiao2 di1", "调快": "tiao2 kuai4",
    "调慢": "tiao2 man4", "调亮": "tiao2 liang4", "调暗": "tiao2 an4", "阿塞拜疆": "a1 sai4 bai4 jiang1",
    "温差": "wen1 cha1", "时差": "shi2 cha1", "偏差": "pian1 cha1", "误差": "wu4 cha1", "落差": "luo4 cha1",
}  # fmt: skip
"""Words and how they are read, a syllable a character but for 儿 that colours one."""
READ_BEFORE = {
    "盛": ("cheng2", "了饭汤水满着一两碗好"), "量": ("liang2", "一了体身血尺长着过"), "看": ("kan1", "孩门家店摊场瓜"),
    "调": ("tiao2", "小大高低好快慢匀准亮暗"), "结": ("jie1", "得满"), "曲": ("qu3", "目艺谱风调子名库"),
}  # fmt: skip
"""How characters that are no part of a word are read before one of these."""
READ_BEHIND = {
    "散": ("san3", "带架发辫包"), "差": ("cha1", "温时色误落偏逆顺价级视公电势"),
    "曲": ("qu3", "编谱作插舞戏乐歌单题奏响鸣夜原新名金序一两几首"),
}  # fmt: skip
"""The same, behind one of these."""
IN_FOREIGN_NAMES = frozenset("尔斯特克德格纳内维拉罗诺伊亚娅奥弗瓦莱缪琉浦舌诸卡何巴麦梅森堡曼阿")
"""Characters that names from other languages are written with."""
SURNAMES = {
    "曾": "zeng1", "单": "shan4", "仇": "qiu2", "解": "xie4", "任": "ren2", "华": "hua4", "区": "ou1",
    "盖": "ge3", "查": "zha1", "朴": "piao2", "翟": "zhai2", "乐": "yue4", "宁": "ning4", "缪": "miao4",
    "召": "shao4", "纪": "ji3", "燕": "yan1", "应": "ying1", "员": "yun4", "秘": "bi4", "葛": "ge3",
    "过": "guo1", "哈": "ha3", "冼": "xian3", "洗": "xian3", "折": "she2", "卜": "bu3", "尹": "yin3",
    "柏": "bai3", "晟": "cheng2", "樊": "fan2", "令": "ling2", "隗": "wei3", "訾": "zi1", "么": "yao1",
    "那": "na1", "观": "guan4", "车": "che1", "谌": "chen2", "瞿": "qu2",
}  # fmt: skip
"""Characters that are read otherwise, or only so, as a family name."""
HONORIFICS = (
    r"先生|女士|小姐|老师|教授|经理|总|局长|同学|某|师傅|医生|主任|太太|老板|律师|博士|院长|校长|"
    r"书记|部长|市长|队长|工程师|大夫|警官|阿姨|叔叔"
)
KEEP_ER = frozenset("女幼婴孤胎男少健育宠产生血娇弃患托小")
"""Characters behind which 儿 is a syllable of its own: 女儿, 婴儿, 新生儿."""
ER_BEGINS = frozenset("子女童科歌媳孙时戏化")
"""Characters before which 儿 begins a word: 儿子, 儿童."""
