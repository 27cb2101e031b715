package quota

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Unit is what a value counts.
type Unit string

// The units of values.
const (
	Count      Unit = "count"
	Bytes      Unit = "bytes"
	Characters Unit = "characters"
	// PerSecond is the unit of rates.
	PerSecond Unit = "requests/s"
)

// Quota is one adjustable value.
type Quota struct {
	// Name is how an operator calls it.
	Name string
	// Title is how AWS's list of service quotas calls it, or would: Berth has
	// some that AWS has not.
	Title string
	Unit  Unit
	// Adjustable says whether AWS raises it on request. Berth lets all be set.
	Adjustable bool
	// PerRepository says that it can be set for one repository as well.
	PerRepository bool
	// Unlimited says that 0 can be set, and is no limit.
	Unlimited bool

	most int64
	get  func(Limits) int64
	set  func(*Limits, int64)
}

// Default is ECR's own value.
func (q Quota) Default() int64 { return q.get(Default()) }

// Of is the value in l.
func (q Quota) Of(l Limits) int64 { return q.get(l) }

// wide makes a quota of an int64 field, narrow one of an int field.
func wide(q Quota, field func(*Limits) *int64) Quota {
	q.most = math.MaxInt64
	q.get = func(l Limits) int64 { return *field(&l) }
	q.set = func(l *Limits, v int64) { *field(l) = v }
	return q
}

func narrow(q Quota, field func(*Limits) *int) Quota {
	q.most = math.MaxInt32
	q.get = func(l Limits) int64 { return int64(*field(&l)) }
	q.set = func(l *Limits, v int64) { *field(l) = int(v) }
	return q
}

// All lists every adjustable value but the rates. Titles and what AWS adjusts
// are of the ECR user guide, "Amazon ECR service quotas"; a title without a
// counterpart there is Berth's own.
func All() []Quota {
	return []Quota{
		wide(Quota{Name: "repositories-per-registry", Title: "Registered repositories", Unit: Count, Adjustable: true},
			func(l *Limits) *int64 { return &l.RepositoriesPerRegistry }),
		wide(Quota{Name: "images-per-repository", Title: "Images per repository", Unit: Count, Adjustable: true},
			func(l *Limits) *int64 { return &l.ImagesPerRepository }),
		wide(Quota{Name: "tags-per-image", Title: "Tags per image", Unit: Count},
			func(l *Limits) *int64 { return &l.TagsPerImage }),
		narrow(Quota{Name: "layers-per-image", Title: "Layers per image", Unit: Count},
			func(l *Limits) *int { return &l.LayersPerImage }),
		narrow(Quota{Name: "manifest-bytes", Title: "Manifest size", Unit: Bytes},
			func(l *Limits) *int { return &l.ManifestBytes }),
		wide(Quota{Name: "max-layer-bytes", Title: "Maximum layer size", Unit: Bytes},
			func(l *Limits) *int64 { return &l.MaxLayerBytes }),
		wide(Quota{Name: "max-layer-parts", Title: "Layer parts", Unit: Count},
			func(l *Limits) *int64 { return &l.MaxLayerParts }),
		wide(Quota{Name: "min-part-bytes", Title: "Minimum layer part size", Unit: Bytes},
			func(l *Limits) *int64 { return &l.MinPartBytes }),
		wide(Quota{Name: "max-part-bytes", Title: "Maximum layer part size", Unit: Bytes},
			func(l *Limits) *int64 { return &l.MaxPartBytes }),
		wide(Quota{Name: "part-size", Title: "Recommended layer part size", Unit: Bytes},
			func(l *Limits) *int64 { return &l.PartSize }),
		narrow(Quota{Name: "resource-tags", Title: "Resource tags per repository", Unit: Count},
			func(l *Limits) *int { return &l.ResourceTags }),
		narrow(Quota{Name: "lifecycle-rules", Title: "Rules per lifecycle policy", Unit: Count},
			func(l *Limits) *int { return &l.LifecycleRules }),
		narrow(Quota{Name: "lifecycle-policy-chars", Title: "Lifecycle policy length", Unit: Characters},
			func(l *Limits) *int { return &l.LifecyclePolicyChars }),
		narrow(Quota{Name: "policy-chars", Title: "Repository and registry policy length", Unit: Characters},
			func(l *Limits) *int { return &l.PolicyChars }),
		narrow(Quota{Name: "pull-time-exclusions", Title: "Pull-time exclusions", Unit: Count},
			func(l *Limits) *int { return &l.PullTimeExclusions }),
		wide(Quota{Name: "storage-bytes", Title: "Storage per account and region", Unit: Bytes, Unlimited: true},
			func(l *Limits) *int64 { return &l.StorageBytes }),
		wide(Quota{Name: repositoryStorage, Title: "Storage per repository", Unit: Bytes, Unlimited: true, PerRepository: true},
			func(l *Limits) *int64 { return &l.RepositoryStorageBytes }),
		wide(Quota{Name: "public-repositories", Title: "Registered public repositories", Unit: Count, Adjustable: true},
			func(l *Limits) *int64 { return &l.PublicRepositories }),
		wide(Quota{Name: "public-max-layer-bytes", Title: "Maximum layer size in public repositories", Unit: Bytes},
			func(l *Limits) *int64 { return &l.PublicMaxLayerBytes }),
		wide(Quota{Name: "public-max-layer-parts", Title: "Layer parts in public repositories", Unit: Count},
			func(l *Limits) *int64 { return &l.PublicMaxLayerParts }),
	}
}

// repositoryStorage is the one value that a repository can have of its own.
const repositoryStorage = "repository-storage-bytes"

// ratePrefix stands before the action in the name of a rate.
const ratePrefix = "rate:"

// rateTitle is how AWS's list calls the rate of an action.
func rateTitle(action string) string {
	of, public := strings.CutPrefix(action, publicPrefix)
	switch {
	case action == PublicPull:
		return "Rate of image pulls from public registries"
	case public:
		return "Rate of " + of + " requests to public registries"
	}
	return "Rate of " + of + " requests"
}

// maxRate bounds a rate: beyond it one does not limit.
const maxRate = 1_000_000_000

// find returns the value with the name; a rate's action is for the caller of
// Set to know. errs.InvalidParameter when there is none.
func find(named string) (Quota, error) {
	if action, ok := strings.CutPrefix(named, ratePrefix); ok && isAction(action) {
		if ofAddresses(action) {
			return Quota{}, errs.New(errs.InvalidParameter, "%s is a rate of addresses, which no account has; it is set in the configuration (public.pull_rate).", named)
		}
		return Quota{Name: named, Title: rateTitle(action), Unit: PerSecond, Adjustable: true, Unlimited: true, most: maxRate}, nil
	}
	all := All()
	if at := slices.IndexFunc(all, func(q Quota) bool { return q.Name == named }); at >= 0 {
		return all[at], nil
	}
	return Quota{}, errs.New(errs.InvalidParameter, "There is no quota %q; berth quota list shows them all.", named)
}

// isAction says whether it has the form of an action, such as PutImage or
// ecr-public:PutImage.
func isAction(s string) bool {
	s = strings.TrimPrefix(s, publicPrefix)
	return s != "" && len(s) <= 128 && strings.Trim(s, letters) == ""
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// check says what is wrong with a value.
func (q Quota) check(value int64) error {
	least, of := int64(1), ""
	if q.Unlimited {
		least, of = 0, ", where 0 is no limit"
	}
	if value < least || value > q.most {
		return errs.New(errs.InvalidParameter, "%s has to be between %d and %d%s.", q.Name, least, q.most, of)
	}
	return nil
}

// sizes are the words for bytes, the larger first.
var sizes = [...]struct {
	word  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseValue reads a value as an operator writes it: a whole number, with KiB,
// MiB, GiB or TiB behind it where the value counts bytes, or "unlimited".
// errs.InvalidParameter for anything else, and for a name that is none.
func ParseValue(named, text string) (int64, error) {
	q, err := find(named)
	if err != nil {
		return 0, err
	}
	if text == unlimited && q.Unlimited {
		return 0, nil
	}
	digits, factor := text, int64(1)
	if q.Unit == Bytes {
		for _, s := range sizes {
			if rest, ok := strings.CutSuffix(text, s.word); ok {
				digits, factor = strings.TrimSpace(rest), s.bytes
				break
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		want := "a whole number"
		if q.Unit == Bytes {
			want = "a number of bytes, such as 5242880 or 5MiB (KiB, MiB, GiB or TiB)"
		}
		return 0, errs.New(errs.InvalidParameter, "%q is no value of %s: write %s.", text, named, want)
	}
	return n * factor, q.check(n * factor)
}

// unlimited is how a value without a limit is shown.
const unlimited = "unlimited"

// text is a value as ParseValue reads it.
func text(value int64, unit Unit, zeroIsNone bool) string {
	if value == 0 && zeroIsNone {
		return unlimited
	}
	if unit == Bytes && value > 0 {
		for _, s := range sizes {
			if value%s.bytes == 0 {
				return strconv.FormatInt(value/s.bytes, 10) + s.word
			}
		}
	}
	return strconv.FormatInt(value, 10)
}
