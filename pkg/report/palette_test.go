package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// colours are the variables of the style sheet, in light and in dark.
func colours(t *testing.T) (light, dark map[string][3]float64) {
	t.Helper()
	read := func(css string) map[string][3]float64 {
		out := map[string][3]float64{}
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): #([0-9a-f]{3,6});`).FindAllStringSubmatch(css, -1) {
			hex := m[2]
			if len(hex) == 3 {
				hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
			}
			n, err := strconv.ParseUint(hex, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			var c [3]float64
			for i := range c {
				v := float64(n>>(16-8*i)&255) / 255
				if c[i] = v / 12.92; v > 0.04045 {
					c[i] = math.Pow((v+0.055)/1.055, 2.4)
				}
			}
			out[m[1]] = c
		}
		return out
	}
	a, b, ok := strings.Cut(pageStyle(), "@media (prefers-color-scheme: dark)")
	b, _, end := strings.Cut(b, "* { box-sizing")
	if !ok || !end {
		t.Fatal("the style sheet has another shape")
	}
	return read(a), read(b)
}

// contrast is that of WCAG 2.2.
func contrast(a, b [3]float64) float64 {
	l := func(c [3]float64) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }
	x, y := l(a), l(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// seen simulates, over linear RGB, how a person without one kind of cones sees
// (Machado, Oliveira and Fernandes 2009, severity 1).
var seen = map[string][3][3]float64{
	"all":          {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

// oklab is a space in which distances are as large as they look (Ottosson 2020).
func oklab(c [3]float64) (out [3]float64) {
	mul := func(m [3][3]float64, c [3]float64) (o [3]float64) {
		for i := range m {
			for k := range c {
				o[i] += m[i][k] * c[k]
			}
		}
		return o
	}
	l := mul([3][3]float64{{0.4122214708, 0.5363325363, 0.0514459929}, {0.2119034982, 0.6806995451, 0.1073969566}, {0.0883024619, 0.2817188376, 0.6299787005}}, c)
	for i := range l {
		l[i] = math.Cbrt(l[i])
	}
	return mul([3][3]float64{{0.2104542553, 0.7936177850, -0.0040720468}, {1.9779984951, -2.4285922050, 0.4505937099}, {0.0259040371, 0.7827717662, -0.8086757660}}, l)
}

func TestThePaletteCanBeReadByEverybody(t *testing.T) {
	light, dark := colours(t)
	for mode, c := range map[string]map[string][3]float64{"light": light, "dark": dark} {
		if len(c) < 20 {
			t.Fatalf("%s: %d colours only", mode, len(c))
		}
		for _, text := range []string{"ink", "dim", "accent", "critical", "high", "medium", "low", "ok", "s1"} {
			for _, ground := range []string{"bg", "panel", "wash", "chosen"} {
				if r := contrast(c[text], c[ground]); r < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", mode, text, ground, r)
				}
			}
		}
		for _, word := range []string{"critical", "high", "medium", "low", "ok"} {
			if r := contrast(c[word], c[word+"-wash"]); r < 4.5 {
				t.Errorf("%s: %s on its wash has a contrast of %.2f", mode, word, r)
			}
		}
		series := []string{"s1", "s2", "s3", "s4"}
		for i, a := range series {
			if r := contrast(c[a], c["panel"]); r < 3 {
				t.Errorf("%s: %s has a contrast of %.2f", mode, a, r)
			}
			for _, b := range series[i+1:] {
				for kind, m := range seen {
					see := func(c [3]float64) (o [3]float64) {
						for i := range m {
							for k := range c {
								o[i] += m[i][k] * c[k]
							}
							o[i] = min(max(o[i], 0), 1)
						}
						return o
					}
					x, y := oklab(see(c[a])), oklab(see(c[b]))
					if d := math.Sqrt(math.Pow(x[0]-y[0], 2) + math.Pow(x[1]-y[1], 2) + math.Pow(x[2]-y[2], 2)); d < 0.05 {
						t.Errorf("%s: %s and %s are %.3f apart with %s", mode, a, b, d, kind)
					}
				}
			}
		}
	}
}
