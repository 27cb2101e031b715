package pattern

import (
	"strconv"
	"strings"
)

// number is a JSON number. One that a float64 does not hold exactly, as far as its
// shortest decimal form goes, is equal to nothing but its own text, and in no range:
// AWS's matcher does the same, so that numbers which are names (of accounts, say) are
// never taken for their neighbours.
type number struct {
	float float64
	exact bool
}

func parseNumber(text string) number {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return number{} // too large; the text is known to be a number
	}
	return number{f, decimal(text) == decimal(strconv.FormatFloat(f, 'e', -1, 64))}
}

func (n number) equal(m number) bool { return n.exact && m.exact && n.float == m.float }

// decimal is a number's one form as digits and exponent: "15e-1" for 1.5, 1.50 and 15e-1.
func decimal(text string) string {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(text[i+1:]); err != nil {
			return text // out of all ranges; equal to nothing that can be formatted
		}
		mantissa = text[:i]
	}
	sign := ""
	if rest, ok := strings.CutPrefix(mantissa, "-"); ok {
		sign, mantissa = "-", rest
	}
	if whole, part, ok := strings.Cut(mantissa, "."); ok {
		mantissa = whole + part
		exponent -= len(part)
	}
	digits := strings.TrimRight(mantissa, "0")
	exponent += len(mantissa) - len(digits)
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return "0"
	}
	return sign + digits + "e" + strconv.Itoa(exponent)
}
