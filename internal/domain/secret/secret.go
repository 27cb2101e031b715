// Package secret keeps secrets for people and for features that speak to others in
// an account's name: named values in versions with staging labels, sealed at rest
// each with a data key of its own, and their deletion after a time in which nothing
// can be read any more.
//
// It does not own the API (api/secretsmanager), who may do what (domain/authz), nor
// the keys (infra/keys), and it does not know what is in a value.
package secret

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The staging labels that have a meaning here (Secrets Manager user guide, "What's in
// a secret"): the version that is read by default, and the one before it.
const (
	Current  = "AWSCURRENT"
	Previous = "AWSPREVIOUS"
)

// Quotas (Secrets Manager user guide, "quotas").
const (
	// maxValue bounds a value, in bytes.
	maxValue = 65_536
	// maxLabels bounds the staging labels of all versions of one secret together.
	maxLabels = 20
	// maxUnlabelled is how many versions without a label are kept, the newest.
	maxUnlabelled = 100
	// maxSecrets bounds the secrets of one account and region. It is Berth's own: AWS
	// has 500,000, and a listing here sorts them in memory.
	maxSecrets = 10_000
)

// Days of the time between the deletion of a secret and its end (API reference,
// DeleteSecret).
const (
	DefaultWindow = 30
	MinWindow     = 7
	MaxWindow     = 30
)

// Secret is a secret without its values.
type Secret struct {
	ID int64
	// Home is the account and region that it belongs to.
	Home name.Registry
	Name string
	// Suffix is the six characters behind the name in the ARN, so that a secret made
	// again under the name of an old one is another one for policies.
	Suffix      string
	Description string
	// KMSKey is the key as it was named, "" for the account's aws/secretsmanager.
	KMSKey               string
	Tags                 map[string]string
	CreatedAt, ChangedAt time.Time
	// UsedOn is the day, in UTC, on which it was last read; zero for never.
	UsedOn time.Time
	// EndsAt is when a deleted secret ends; zero while it is not deleted.
	EndsAt time.Time
	// Labels are the staging labels by the id of the version that has them.
	Labels map[string][]string

	keyID string
}

// ARN is the secret's ARN, whole.
func (s Secret) ARN() name.ARN { return arnOf(s.Home, s.Name+"-"+s.Suffix) }

func arnOf(home name.Registry, rest string) name.ARN {
	return name.ARN{Partition: home.Region.Partition(), Service: "secretsmanager", Region: home.Region, Account: home.Account, Resource: arnPrefix + rest}
}

const arnPrefix = "secret:"

// UnmadeARN stands for a secret of that name which is not there, in questions about
// permissions: policies that name secrets with their suffix as "*" match it.
func UnmadeARN(home name.Registry, secretName string) name.ARN {
	return arnOf(home, secretName+"-??????")
}

// Content is the value of a version: a text, or bytes.
type Content struct {
	Binary bool
	Data   []byte
}

// LogValue keeps values out of logs.
func (Content) LogValue() slog.Value { return slog.StringValue("hidden") }

// Version is a version of a secret with its value.
type Version struct {
	ID string
	Content
	Labels    []string
	CreatedAt time.Time
}

// address is what a caller calls a secret by: its name, its ARN, or its ARN without
// the suffix.
type address struct {
	home  name.Registry
	text  string
	isARN bool
}

// addressOf reads an address. False for an ARN of something else or of another
// region.
func addressOf(home name.Registry, id string) (address, bool) {
	if !strings.HasPrefix(id, "arn:") {
		return address{home: home, text: id}, true
	}
	arn, err := name.ParseARN(id)
	rest, ok := strings.CutPrefix(arn.Resource, arnPrefix)
	if err != nil || !ok || arn.Service != "secretsmanager" || arn.Region != home.Region || arn.Partition != home.Region.Partition() {
		return address{}, false
	}
	return address{home: name.Registry{Account: arn.Account, Region: arn.Region}, text: rest, isARN: true}, true
}

// whole splits what may be a name and a suffix.
func (a address) whole() (secretName, suffix string, ok bool) {
	cut := len(a.text) - suffixLength - 1
	if !a.isARN || cut < 1 || a.text[cut] != '-' {
		return "", "", false
	}
	return a.text[:cut], a.text[cut+1:], true
}

const (
	suffixLength   = 6
	suffixAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

func newSuffix() string {
	b := make([]byte, 0, suffixLength)
	for len(b) < suffixLength {
		var one [1]byte
		_, _ = rand.Read(one[:]) // crypto/rand does not fail
		// What is past the last whole alphabet would make some characters likelier.
		if n := int(one[0]); n < 256-256%len(suffixAlphabet) {
			b = append(b, suffixAlphabet[n%len(suffixAlphabet)])
		}
	}
	return string(b)
}

// nameForm is what a name is made of (API reference, CreateSecret).
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9/_+=.@!-]+$`)

// check holds a value to its limits.
func (c *Content) check() error {
	switch {
	case c == nil:
		return nil
	case len(c.Data) == 0:
		return errs.Parameter("secretString", "Member must have length greater than or equal to 1")
	case len(c.Data) > maxValue:
		return errs.New(errs.InvalidParameter, "The secret value has %d bytes. It can have %d at most.", len(c.Data), maxValue)
	}
	return nil
}

const columns = `id, account_id, region, name, suffix, description, kms_key, key_id, tags, created_at, changed_at, used_day, ends_at`

func scan(row sqldb.Scanner) (Secret, error) {
	var s Secret
	var tags string
	var created, changed, used, ends int64
	if err := row.Scan(&s.ID, &s.Home.Account, &s.Home.Region, &s.Name, &s.Suffix, &s.Description, &s.KMSKey, &s.keyID, &tags, &created, &changed, &used, &ends); err != nil {
		return Secret{}, err
	}
	s.CreatedAt, s.ChangedAt = time.UnixMicro(created).UTC(), time.UnixMicro(changed).UTC()
	if used > 0 {
		s.UsedOn = time.Unix(used*secondsOfDay, 0).UTC()
	}
	if ends > 0 {
		s.EndsAt = time.UnixMicro(ends).UTC()
	}
	s.Labels = map[string][]string{}
	return s, json.Unmarshal([]byte(tags), &s.Tags)
}

const secondsOfDay = 24 * 60 * 60

func missing() error {
	return errs.New(errs.SecretMissing, "Secrets Manager can't find the specified secret.")
}

func deleted() error {
	return errs.New(errs.SecretInvalid, "You can't perform this operation on the secret because it was marked for deletion.")
}

// labelled is a version's labels, while they are moved about.
type labelled struct {
	id     string
	labels []string
	moved  bool
}

// move gives the labels to a new version, which has to have Current where it is the
// first. The version that was Current until then becomes Previous, unless the label
// was asked for. Each label is at one version only.
func move(versions []labelled, labels []string) []string {
	if len(labels) == 0 || len(versions) == 0 && !slices.Contains(labels, Current) {
		labels = append([]string{Current}, labels...)
	}
	labels = unique(labels)
	take := func(label string) (from int) {
		from = -1
		for i := range versions {
			if at := slices.Index(versions[i].labels, label); at >= 0 {
				versions[i].labels, versions[i].moved, from = slices.Delete(slices.Clone(versions[i].labels), at, at+1), true, i
			}
		}
		return from
	}
	for _, label := range labels {
		from := take(label)
		if label == Current && from >= 0 && !slices.Contains(labels, Previous) {
			take(Previous)
			versions[from].labels, versions[from].moved = append(versions[from].labels, Previous), true
		}
	}
	return labels
}

func unique(labels []string) []string {
	var once []string
	for _, l := range labels {
		if !slices.Contains(once, l) {
			once = append(once, l)
		}
	}
	return once
}
