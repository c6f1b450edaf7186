package judge

// The numbers of this file were computed offline; table_test.go computes them
// again with math/big and compares. The judge itself uses integers only, so
// that every machine comes to the same score.
//
// Points are thousandths of a nat: round(1000 · -ln(1 - w)), w being the
// weight of the severity: info .01, low .03, medium .12, high .40, critical
// .90. Against an explicit deny w is a quarter more, .99 at most.

// weights is what one version of the judge makes of what was not explained.
type weights struct {
	version    string
	severities []rule
	// points is what an undeclared fact of each severity costs, by order.
	points [len(bySeverity)]int
	// denied is the same for a fact that an explicit deny forbids.
	denied [len(bySeverity)]int
	// caps bounds what all facts of a severity cost together, so that much drift
	// of no weight does not come to what an attack does: what a w of .05, .15,
	// .45 and .85 costs. Critical has none.
	caps [len(bySeverity)]int
	// power: the verdict tells who took power over the machine.
	power bool
	// everyRule: the gravest finding of each rule is kept and listed before a
	// second one of any.
	everyRule bool
	// drift: what changed of the machine's own state is judged.
	drift bool
	// agents: what coding agents declared is held against what was seen.
	agents bool
}

// versions are all that there ever were, the current one last. None is changed
// or taken out: what was judged by one is judged by it again.
var versions = []*weights{&first, {
	version: "judge/2", severities: first.severities, points: first.points, denied: first.denied, caps: first.caps,
	power: true, everyRule: true,
}, {
	version: "judge/3", severities: first.severities, points: first.points, denied: first.denied, caps: first.caps,
	power: true, everyRule: true, drift: true,
}, {
	version: Version, severities: first.severities, points: first.points, denied: first.denied, caps: first.caps,
	power: true, everyRule: true, drift: true, agents: true,
}}

var first = weights{
	version: "judge/1", severities: severities,
	points: [...]int{10, 30, 128, 511, 2303},
	denied: [...]int{13, 38, 163, 693, 4605},
	caps:   [...]int{51, 163, 598, 1897, 0},
}

// scoreAt[s-1] is the least number of points whose score is s:
// S = round(100 · (1 - e^(-L/1000))).
var scoreAt = [100]int{
	6, 16, 26, 36, 47, 57, 68, 78, 89, 100,
	111, 123, 134, 146, 157, 169, 181, 193, 205, 217,
	230, 243, 255, 268, 282, 295, 308, 322, 336, 350,
	364, 379, 394, 408, 424, 439, 455, 471, 487, 503,
	520, 537, 554, 571, 589, 607, 626, 645, 664, 684,
	704, 724, 745, 766, 788, 810, 833, 856, 880, 904,
	929, 955, 981, 1008, 1036, 1065, 1094, 1124, 1156, 1188,
	1221, 1256, 1291, 1329, 1367, 1407, 1449, 1492, 1538, 1585,
	1635, 1688, 1743, 1802, 1865, 1932, 2003, 2080, 2163, 2254,
	2354, 2466, 2591, 2734, 2901, 3102, 3353, 3689, 4200, 5299,
}

// score returns S for a sum of points.
func score(sum int) int {
	s := 0
	for s < len(scoreAt) && sum >= scoreAt[s] {
		s++
	}
	return s
}
