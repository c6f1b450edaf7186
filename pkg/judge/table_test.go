package judge

import (
	"math/big"
	"testing"
)

const precision = 200

var current = versions[len(versions)-1]

func float(s string) *big.Float {
	f, _, err := big.ParseFloat(s, 10, precision, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return f
}

// negLog returns 1000 · -ln(x) for 0 < x < 1, by
// ln(x) = -2 · Σ y^(2k+1)/(2k+1) with y = (1-x)/(1+x).
func negLog(x *big.Float) *big.Float {
	one := float("1")
	y := new(big.Float).SetPrec(precision).Quo(
		new(big.Float).SetPrec(precision).Sub(one, x), new(big.Float).SetPrec(precision).Add(one, x))
	y2 := new(big.Float).SetPrec(precision).Mul(y, y)
	sum, term := float("0"), new(big.Float).SetPrec(precision).Set(y)
	for k := int64(0); k < 60_000; k++ {
		d := new(big.Float).SetPrec(precision).SetInt64(2*k + 1)
		t := new(big.Float).SetPrec(precision).Quo(term, d)
		sum.Add(sum, t)
		if t.MantExp(nil) < sum.MantExp(nil)-precision {
			break
		}
		term.Mul(term, y2)
	}
	return sum.Mul(sum, float("2000"))
}

func pointsFor(w string) int {
	x := new(big.Float).SetPrec(precision).Sub(float("1"), float(w))
	half := negLog(x)
	half.Add(half, float("0.5"))
	n, _ := half.Int64()
	return int(n)
}

func TestPointsAreTheRoundedLogarithmsOfTheWeights(t *testing.T) {
	tables := []struct {
		name    string
		have    []int
		weights []string
	}{
		{"points", current.points[:], []string{".01", ".03", ".12", ".40", ".90"}},
		{"denied", current.denied[:], []string{".0125", ".0375", ".15", ".50", ".99"}},
		{"caps", current.caps[:4], []string{".05", ".15", ".45", ".85"}},
	}
	for _, table := range tables {
		for i, w := range table.weights {
			if want := pointsFor(w); table.have[i] != want {
				t.Errorf("%s[%d] is %d; 1000 · -ln(1 - %s) rounds to %d", table.name, i, table.have[i], w, want)
			}
		}
	}
}

func TestScoreTableHoldsTheLeastPointsOfEachScore(t *testing.T) {
	for s := 1; s <= 100; s++ {
		// S reaches s where 1 - e^(-L/1000) >= (s - 1/2)/100.
		q := new(big.Float).SetPrec(precision).Quo(new(big.Float).SetPrec(precision).SetInt64(int64(2*s-1)), float("200"))
		exact := negLog(new(big.Float).SetPrec(precision).Sub(float("1"), q))
		want, accuracy := exact.Int64()
		if accuracy == big.Below {
			want++
		}
		if scoreAt[s-1] != int(want) {
			t.Errorf("scoreAt[%d] is %d, want %d", s-1, scoreAt[s-1], want)
		}
	}
}

func TestScoresOfTheWorkedExamples(t *testing.T) {
	tests := []struct {
		name string
		sum  int
		want int
	}{
		{"nothing", 0, 0},
		{"the least that can be", current.points[0], 1},
		{"one low", current.points[1], 3},
		{"one medium", current.points[2], 12},
		{"two medium", 2 * current.points[2], 23},
		{"one high", current.points[3], 40},
		{"one high and one medium", current.points[3] + current.points[2], 47},
		{"one critical", current.points[4], 90},
		{"a million points", 1_000_000, 100},
	}
	for _, test := range tests {
		if got := score(test.sum); got != test.want {
			t.Errorf("%s: score(%d) is %d, want %d", test.name, test.sum, got, test.want)
		}
	}
}
