package secret

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Filter chooses secrets by one of their attributes (API reference, Filter). One of
// the values has to match; one that begins with "!" matches what the rest does not.
type Filter struct {
	Key    FilterKey
	Values []string
}

// FilterKey is what a Filter looks at.
type FilterKey string

// The keys of the API.
const (
	ByDescription   FilterKey = "description"
	ByName          FilterKey = "name"
	ByTagKey        FilterKey = "tag-key"
	ByTagValue      FilterKey = "tag-value"
	ByPrimaryRegion FilterKey = "primary-region"
	ByOwningService FilterKey = "owning-service"
	ByAll           FilterKey = "all"
)

// Order is what a listing is sorted by.
type Order string

// The orders of the API.
const (
	Created  Order = "created-date"
	Accessed Order = "last-accessed-date"
	Changed  Order = "last-changed-date"
	Named    Order = "name"
)

// Listing asks for a page of secrets.
type Listing struct {
	Filters []Filter
	// Order is Created where it is "".
	Order      Order
	Descending bool
	// Deleted lists the deleted ones as well.
	Deleted bool
	// After is the Cursor of the last secret of the page before, the zero one for the
	// beginning. Limit is at least 1.
	After Cursor
	Limit int
}

// Cursor is a secret's place in an order.
type Cursor struct {
	Key string `json:"k"`
	ID  int64  `json:"i"`
}

// Cursor is where the secret stands in the order.
func (l Listing) Cursor(s Secret) Cursor { return Cursor{Key: l.key(s), ID: s.ID} }

func (l Listing) key(s Secret) string {
	at := s.CreatedAt
	switch l.Order {
	case Named:
		return s.Name
	case Accessed:
		at = s.UsedOn
	case Changed:
		at = s.ChangedAt
	case Created:
	}
	return fmt.Sprintf("%020d", max(0, at.UnixMicro()))
}

func (l Listing) compare(a, b Cursor) int {
	c := cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	if l.Descending {
		return -c
	}
	return c
}

// List returns a page of the secrets of the account and region, and whether more
// follow.
func (s *Service) List(ctx context.Context, home name.Registry, l Listing) (page []Secret, more bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err := sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM secret WHERE account_id = $1 AND region = $2`, string(home.Account), string(home.Region))
		if err != nil {
			return err
		}
		page = slices.DeleteFunc(all, func(one Secret) bool {
			return !one.EndsAt.IsZero() && !l.Deleted || l.After != (Cursor{}) && l.compare(l.Cursor(one), l.After) <= 0 ||
				slices.ContainsFunc(l.Filters, func(f Filter) bool { return !f.match(one) })
		})
		slices.SortFunc(page, func(a, b Secret) int { return l.compare(l.Cursor(a), l.Cursor(b)) })
		if more = len(page) > l.Limit; more {
			page = page[:l.Limit]
		}
		for i := range page {
			versions, err := sqldb.Collect(ctx, tx, scanLabels, `SELECT version_id, stages FROM secret_version WHERE secret_id = $1 AND stages <> '[]'`, page[i].ID)
			if err != nil {
				return err
			}
			for _, v := range versions {
				page[i].Labels[v.id] = v.labels
			}
		}
		return nil
	})
	return page, more, err
}

// match says whether one of the values matches.
func (f Filter) match(s Secret) bool {
	return slices.ContainsFunc(f.Values, func(v string) bool {
		rest, not := strings.CutPrefix(v, "!")
		return f.matches(s, rest) != not
	})
}

// matches compares beginnings, of descriptions and of everything without regard to
// case and word by word.
func (f Filter) matches(s Secret, v string) bool {
	begins := func(text string) bool { return strings.HasPrefix(text, v) }
	switch f.Key {
	case ByName:
		return begins(s.Name)
	case ByDescription:
		return wordsBegin(v, s.Description)
	case ByTagKey:
		return slices.ContainsFunc(slices.Collect(maps.Keys(s.Tags)), begins)
	case ByTagValue:
		return slices.ContainsFunc(slices.Collect(maps.Values(s.Tags)), begins)
	case ByPrimaryRegion:
		return begins(string(s.Home.Region))
	case ByOwningService:
		return false // no service owns secrets here
	case ByAll:
		texts := []string{s.Name, s.Description, string(s.Home.Region)}
		for k, value := range s.Tags {
			texts = append(texts, k, value)
		}
		return slices.ContainsFunc(strings.Fields(v), func(word string) bool { return wordsBegin(word, texts...) })
	}
	return false
}

// wordsBegin says whether a text, or one of its words, begins with v.
func wordsBegin(v string, texts ...string) bool {
	v = strings.ToLower(v)
	for _, text := range texts {
		text = strings.ToLower(text)
		if strings.HasPrefix(text, v) || slices.ContainsFunc(strings.FieldsFunc(text, between), func(w string) bool { return strings.HasPrefix(w, v) }) {
			return true
		}
	}
	return false
}

// between says what stands between words.
func between(r rune) bool { return strings.ContainsRune(" /_+=.@-", r) }
