package password

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a policy's numbers (IAM API reference, UpdateAccountPasswordPolicy).
const (
	// DefaultLength is the least length of a policy that names none, and
	// UnsetLength the one while the account has no policy.
	DefaultLength = 6
	UnsetLength   = 8
	// MaxRemembered is how many former passwords a policy can rule out.
	MaxRemembered = 24
)

// Policy is what an account asks of its users' passwords. Its zero value with
// Length DefaultLength is what UpdateAccountPasswordPolicy sets when it is given
// nothing. A nil *Policy is the account that has none: see Refusal.
type Policy struct {
	// Length is the least number of characters.
	Length int64 `json:"length"`
	// Which kinds of characters there must be.
	Symbols   bool `json:"symbols,omitempty"`
	Numbers   bool `json:"numbers,omitempty"`
	Uppercase bool `json:"uppercase,omitempty"`
	Lowercase bool `json:"lowercase,omitempty"`
	// UsersMayChange lets every user of the account change its own password.
	UsersMayChange bool `json:"usersMayChange,omitempty"`
	// MaxAge is the number of days until a password has to be changed; 0: never.
	MaxAge int64 `json:"maxAge,omitempty"`
	// Remembered is how many of a user's latest passwords cannot be used again.
	Remembered int64 `json:"remembered,omitempty"`
	// HardExpiry leaves an expired password to an administrator to change.
	HardExpiry bool `json:"hardExpiry,omitempty"`
}

// symbols are the characters that count as such (IAM user guide, "Set an account
// password policy").
const symbols = "!@#$%^&*()_+-=[]{}|'"

// The requirements in IAM's words.
const (
	needsUppercase = "Password should have at least one uppercase letter"
	needsLowercase = "Password should have at least one lowercase letter"
	needsNumber    = "Password should have at least one number"
	needsSymbol    = "Password should have at least one symbol"
)

// kindsWithoutPolicy is how many of the four kinds of characters a password
// needs while the account has no policy.
const kindsWithoutPolicy = 3

// Refusal says in IAM's words why the policy does not take a password, "" if it
// does. names are those that the password must not be, without regard to case:
// the user's and the account's. Without a policy IAM's default one holds: 8
// characters and 3 of the 4 kinds, where only A to Z, a to z, 0 to 9 and some
// symbols count.
func (p *Policy) Refusal(password string, names ...string) string {
	var missing []string
	note := func(wanted, there bool, text string) {
		if wanted && !there {
			missing = append(missing, text)
		}
	}
	upper := strings.ContainsFunc(password, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	lower := strings.ContainsFunc(password, func(r rune) bool { return r >= 'a' && r <= 'z' })
	digit := strings.ContainsFunc(password, func(r rune) bool { return r >= '0' && r <= '9' })
	symbol := strings.ContainsAny(password, symbols)
	all := p == nil
	length := int64(UnsetLength)
	if !all {
		length = p.Length
	}
	note(all || p.Uppercase, upper, needsUppercase)
	note(all || p.Lowercase, lower, needsLowercase)
	note(all || p.Numbers, digit, needsNumber)
	note(all || p.Symbols, symbol, needsSymbol)
	var reasons []string
	if int64(utf8.RuneCountInString(password)) < length {
		reasons = append(reasons, fmt.Sprintf("Password should have a minimum length of %d", length))
	}
	if all {
		if more := len(missing) - (4 - kindsWithoutPolicy); more > 0 {
			reasons = append(reasons, fmt.Sprintf("Password should meet %d more of the following requirements: %s", more, strings.Join(missing, ", ")))
		}
	} else {
		reasons = append(reasons, missing...)
	}
	for _, n := range names {
		if n != "" && strings.EqualFold(n, password) {
			reasons = append(reasons, "Password should not be the name of the user or the account")
			break
		}
	}
	return strings.Join(reasons, ", ")
}

// Expired says whether a password that was set at the time has reached the age
// at which the policy has it changed.
func (p *Policy) Expired(set, now time.Time) bool {
	return p != nil && p.MaxAge > 0 && !now.Before(set.Add(time.Duration(p.MaxAge)*24*time.Hour))
}

// Forbids is how many of the latest passwords cannot be used again.
func (p *Policy) Forbids() int64 {
	if p == nil {
		return 0
	}
	return min(p.Remembered, MaxRemembered)
}
