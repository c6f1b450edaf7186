package signature

import (
	"math"
	"strings"
	"unicode/utf8"
)

// confusables are letters of other alphabets, and letters with marks, by the
// ASCII letter that a reader takes them for: after Unicode UTS #39, of what
// IDNA 2008 lets stand in a name, and what has such a letter as its base.
var confusables = func() map[rune]byte {
	m := map[rune]byte{}
	for _, s := range []string{
		"aàáâãäåāăąǎǟǡǻȁȃȧạảấầẩẫậắằẳẵặɑαаӑӓ", "bƀɓḃḅḇьƅ", "cçćĉċčƈḉϲсҫ", "dďđɖɗḋḍḏḑḓԁժ", "eèéêëēĕėęěȅȇȩẹẻẽếềểễệеёѐҽɛε",
		"fƒḟքϝ", "gĝğġģǥǧǵɡɠḡցġ", "hĥħȟḣḥḧḩḫһհн", "iìíîïĩīĭįıǐȉȋɩɪḭḯỉịιіїӏ", "jĵǰɉϳјյ", "kķĸǩƙḱḳḵκкқ", "lĺļľłŀḷḹḻḽɫӏ",
		"mṁṃḿмɱ", "nñńņňŉƞǹɲṅṇṉṋղոռνп", "oòóôõöøōŏőơǒǫǭǿȍȏȫȭȯȱọỏốồổỗộớờởỡợοσоӧօ", "pþƥṕṗρрϸ", "qɋʠԛգզ", "rŕŗřȑȓɍṙṛṝṟгѓ",
		"sśŝşšșȿṡṣṥṧṩѕʂ", "tţťŧțƭṫṭṯṱτт", "uùúûüũūŭůűųưǔǖǘǚǜȕȗụủứừửữựʋυսц", "vṽṿνѵ", "wŵẁẃẅẇẉѡԝաω", "xẋẍχхҳ", "yýÿŷȳẏỳỵỷỹγуўүყ",
		"zźżžƶȥẑẓẕʐᴢ",
	} {
		for _, r := range s[1:] {
			if _, taken := m[r]; !taken {
				m[r] = s[0]
			}
		}
	}
	return m
}()

// asRead returns a label in lower case as a reader takes it: its Punycode
// decoded, and each letter that looks like one of ASCII as that one. Any other
// letter is one byte that is in no name.
func asRead(label string) string {
	if s, ok := decodePunycode(label); ok {
		label = s
	} else if isASCII(label) {
		return label
	}
	b := make([]byte, 0, maxLabel)
	for _, r := range label {
		switch c, ok := confusables[r]; {
		case ok:
			b = append(b, c)
		case r < utf8.RuneSelf:
			b = append(b, byte(r))
		default:
			b = append(b, 0xff)
		}
	}
	return string(b[:min(len(b), maxLabel)])
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// drawnAlike makes one text of those that are drawn nearly alike (UTS #39): npmjs
// and nprnjs, pypi and pyp1.
var drawnAlike = strings.NewReplacer("rn", "m", "vv", "w", "0", "o", "1", "l", "i", "l", "3", "e", "5", "s")

// Parameters of Punycode (RFC 3492, 5).
const (
	punyBase, punyTMin, punyTMax = 36, 1, 26
	punySkew, punyDamp           = 38, 700
	punyBias, punyFirst          = 72, 0x80
)

// decodePunycode returns what a label that begins with xn-- stands for; ok is
// false for any other, and for one that stands for nothing (RFC 3492, 6.2).
func decodePunycode(label string) (text string, ok bool) {
	rest, ok := strings.CutPrefix(label, "xn--")
	if !ok || len(label) > maxLabel || !isASCII(rest) {
		return "", false
	}
	var out []rune
	if at := strings.LastIndexByte(rest, '-'); at >= 0 {
		out, rest = []rune(rest[:at]), rest[at+1:]
	}
	n, bias, i := punyFirst, punyBias, 0
	for rest != "" {
		first, weight := i, 1
		for k := punyBase; ; k += punyBase {
			if rest == "" {
				return "", false
			}
			digit := punyDigit(rest[0])
			rest = rest[1:]
			if digit < 0 || digit > (math.MaxInt32-i)/weight {
				return "", false
			}
			i += digit * weight
			t := min(max(k-bias, punyTMin), punyTMax)
			if digit < t {
				break
			}
			if weight > math.MaxInt32/(punyBase-t) {
				return "", false
			}
			weight *= punyBase - t
		}
		count := len(out) + 1
		delta := (i - first) / 2
		if first == 0 {
			delta = i / punyDamp
		}
		delta += delta / count
		k := 0
		for ; delta > (punyBase-punyTMin)*punyTMax/2; k += punyBase {
			delta /= punyBase - punyTMin
		}
		bias = k + (punyBase-punyTMin+1)*delta/(delta+punySkew)
		n += i / count
		i %= count
		if n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		out = append(out, 0)
		copy(out[i+1:], out[i:])
		out[i] = rune(n)
		i++
	}
	return string(out), len(out) > 0
}

// punyDigit returns the value of a digit, -1 for none.
func punyDigit(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c - 'a')
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= '0' && c <= '9':
		return int(c-'0') + 26
	}
	return -1
}
