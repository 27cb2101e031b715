package trails

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// The lengths of a trail's name, and of a key prefix (API reference, "CreateTrail").
const (
	minName   = 3
	maxName   = 128
	maxPrefix = 200
)

func allowed(r rune) bool {
	return alphanumeric(r) || strings.ContainsRune("._-", r)
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// checkName holds a trail's name to the rules of the API reference ("CreateTrail").
// errs.TrailNameInvalid.
func checkName(s string) error {
	bad := func(format string, args ...any) error { return errs.New(errs.TrailNameInvalid, format, args...) }
	switch n := len(s); {
	case n < minName:
		return bad("Trail name too short. Minimum allowed length: %d characters. Specified name length: %d characters.", minName, n)
	case n > maxName:
		return bad("Trail name too long. Maximum allowed length: %d characters. Specified name length: %d characters.", maxName, n)
	case strings.ContainsFunc(s, func(r rune) bool { return !allowed(r) }):
		return bad("Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.), hyphens (-), and underscores (_).")
	case !alphanumeric(rune(s[0])):
		return bad("Trail name must starts with a letter or number.")
	case !alphanumeric(rune(s[len(s)-1])):
		return bad("Trail name must ends with a letter or number.")
	}
	for i := 1; i < len(s); i++ {
		if !alphanumeric(rune(s[i])) && !alphanumeric(rune(s[i-1])) {
			return bad("Trail name cannot have adjacent periods (.), hyphens (-), or underscores (_).")
		}
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return bad("Trail name cannot be in IP address format.")
	}
	return nil
}

// prefixRE is what a key prefix is made of here: less than S3 takes, so that it is a
// path in a directory too.
var prefixRE = regexp.MustCompile(`^[a-zA-Z0-9_-][a-zA-Z0-9._-]*(/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)*$`)

// checkPrefix returns the prefix without slashes at its end. errs.InvalidParameter.
func checkPrefix(s string) (string, error) {
	s = strings.TrimRight(s, "/")
	if s == "" {
		return "", nil
	}
	if len(s) > maxPrefix || !prefixRE.MatchString(s) {
		return "", errs.New(errs.InvalidParameter, "The S3 key prefix %q is not allowed. It has at most %d letters, digits, periods, hyphens and underscores, in segments between slashes that do not begin with a period.", s, maxPrefix)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "AWSLogs" {
			return "", errs.New(errs.InvalidParameter, "The S3 key prefix %q is not allowed. AWSLogs follows the prefix by itself.", s)
		}
	}
	return s, nil
}

// named is what a caller calls a trail by.
type named struct {
	name string
	// home is the region of an ARN; "" for a name.
	home name.Region
}

// parse reads a name or an ARN of an account's trail. errs.TrailNameInvalid, and
// errs.TrailNotFound for other accounts' ones.
func parse(account name.AccountID, s string) (named, error) {
	if !strings.HasPrefix(s, "arn:") {
		return named{name: s}, checkName(s)
	}
	arn, err := name.ParseARN(s)
	trail, ok := strings.CutPrefix(arn.Resource, "trail/")
	if err != nil || arn.Service != "cloudtrail" || !ok {
		return named{}, errs.New(errs.TrailNameInvalid, "The trail ARN %s is not valid. It has the form arn:aws:cloudtrail:REGION:ACCOUNT:trail/NAME.", s)
	}
	if arn.Account != account {
		return named{}, unknown(account, s)
	}
	return named{trail, arn.Region}, checkName(trail)
}

func unknown(account name.AccountID, s string) error {
	return errs.New(errs.TrailNotFound, "Unknown trail: %s for the user: %s", s, account)
}
