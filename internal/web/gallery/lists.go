package gallery

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
)

// What a search may ask for.
const (
	perPage    = 24
	maxPage    = gallery.MaxOffset/perPage + 1
	maxTerm    = 200 // characters
	maxFilters = 10
	maxFilter  = 50 // characters of a filter's value (ECR Public API model)
)

// The members of a search's query string. AWS's gallery has them too.
const (
	keyTerm     = "searchTerm"
	keyVerified = "verified"
	keySystems  = "operatingSystems"
	keyArchs    = "architectures"
	keySort     = "sort"
	keyPage     = "page"
	isVerified  = "verified"
)

// query is what a query string asks for.
type query struct {
	Term                   string
	Verified               bool
	Systems, Architectures []string
	Sort                   gallery.Sort
	Page                   int
}

// sortings are the orders that a list can be asked for in.
func sortings() []option {
	return []option{
		{Value: string(gallery.Relevance), Label: "Best match"},
		{Value: string(gallery.Popular), Label: "Most downloaded"},
		{Value: string(gallery.Updated), Label: "Recently updated"},
		{Value: string(gallery.Name), Label: "Name"},
	}
}

func parseQuery(r *http.Request) (query, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, badQuery("The address has a broken query string.")
	}
	q := query{Term: clean(v.Get(keyTerm)), Page: 1, Sort: gallery.Sort(v.Get(keySort))}
	if utf8.RuneCountInString(q.Term) > maxTerm {
		return query{}, badQuery("The search has more than %d characters. Shorten it.", maxTerm)
	}
	switch v.Get(keyVerified) {
	case "":
	case isVerified, "true", "1":
		q.Verified = true
	default:
		return query{}, badQuery("The filter for verified publishers is either %q or left out.", isVerified)
	}
	for key, into := range map[string]*[]string{keySystems: &q.Systems, keyArchs: &q.Architectures} {
		for _, value := range v[key] {
			for part := range strings.SplitSeq(value, ",") { // as AWS's gallery writes several
				part = clean(part)
				if utf8.RuneCountInString(part) > maxFilter || len(*into) >= maxFilters {
					return query{}, badQuery("There are too many filters, or one is too long.")
				}
				if part != "" && !slices.Contains(*into, part) {
					*into = append(*into, part)
				}
			}
		}
	}
	if !slices.ContainsFunc(sortings(), func(o option) bool { return o.Value == string(q.Sort) }) {
		return query{}, badQuery("There is no such order of results.")
	}
	if p := v.Get(keyPage); p != "" {
		if q.Page, err = strconv.Atoi(p); err != nil || q.Page < 1 || q.Page > maxPage {
			return query{}, badQuery("There are pages 1 to %d of a list.", maxPage)
		}
	}
	return q, nil
}

// href is the path of a list as the query asks for it.
func (q query) href(path string) string {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set(keyTerm, q.Term)
	set(keySort, string(q.Sort))
	if q.Verified {
		v.Set(keyVerified, isVerified)
	}
	v[keySystems], v[keyArchs] = q.Systems, q.Architectures
	if q.Page > 1 {
		v.Set(keyPage, strconv.Itoa(q.Page))
	}
	if s := v.Encode(); s != "" {
		return path + "?" + s
	}
	return path
}

func (q query) onPage(n int) query {
	q.Page = n
	return q
}

func (q query) ask(account name.AccountID) gallery.Query {
	return gallery.Query{
		Text: q.Term, Account: account, Verified: q.Verified, OperatingSystems: q.Systems, Architectures: q.Architectures,
		Sort: q.Sort, Offset: (q.Page - 1) * perPage, Limit: perPage,
	}
}

// option is one value of a filter or an order.
type option struct {
	Value, Label string
	Count        int64
	On           bool
}

// filter is a group of options.
type filter struct {
	Key, Legend string
	Options     []option
}

// chip is a filter that is on, with the way to be without it.
type chip struct{ Label, Without string }

// list is a page of repositories.
type list struct {
	Path    string
	Query   query
	Total   int64
	Cards   []card
	Sorts   []option
	Filters []filter
	Chips   []chip
	Pages   []pageLink
	Prev    string
	Next    string
}

// pageLink is one of the numbers below a list; 0 stands for a gap.
type pageLink struct {
	Number  int
	Path    string
	Current bool
}

func listOf(path string, q query, res gallery.Result) list {
	l := list{Path: path, Query: q, Total: int64(res.Total), Cards: cardsOf(res.Repositories)}
	for _, o := range sortings() {
		o.On = o.Value == string(q.Sort)
		l.Sorts = append(l.Sorts, o)
	}
	last := min((res.Total+perPage-1)/perPage, maxPage)
	if q.Page > 1 {
		l.Prev = q.onPage(min(q.Page-1, max(last, 1))).href(path)
	}
	if q.Page < last {
		l.Next = q.onPage(q.Page + 1).href(path)
	}
	if last > 1 {
		before := 0
		for n := 1; n <= last; n++ {
			if n != 1 && n != last && (n < q.Page-2 || n > q.Page+2) {
				continue
			}
			if n > before+1 {
				l.Pages = append(l.Pages, pageLink{})
			}
			l.Pages = append(l.Pages, pageLink{Number: n, Path: q.onPage(n).href(path), Current: n == q.Page})
			before = n
		}
	}
	return l
}

// filtered adds the filters of the search's page.
func (l *list) filtered(res gallery.Result) {
	q := l.Query.onPage(1)
	l.Filters = []filter{
		{Key: keyVerified, Legend: "Publisher", Options: []option{{Value: isVerified, Label: "Verified account", Count: int64(res.Verified), On: q.Verified}}},
		{Key: keySystems, Legend: "Operating system", Options: options(res.OperatingSystems, q.Systems)},
		{Key: keyArchs, Legend: "Architecture", Options: options(res.Architectures, q.Architectures)},
	}
	if q.Verified {
		without := q
		without.Verified = false
		l.Chips = append(l.Chips, chip{"Verified account", without.href(l.Path)})
	}
	for _, s := range q.Systems {
		without := q
		without.Systems = drop(q.Systems, s)
		l.Chips = append(l.Chips, chip{s, without.href(l.Path)})
	}
	for _, a := range q.Architectures {
		without := q
		without.Architectures = drop(q.Architectures, a)
		l.Chips = append(l.Chips, chip{a, without.href(l.Path)})
	}
}

// Unfiltered is the path of the same search without filters.
func (l list) Unfiltered() string {
	return query{Term: l.Query.Term, Sort: l.Query.Sort, Page: 1}.href(l.Path)
}

// First and Last are the numbers of the list's ends on this page.
func (l list) First() int64 { return int64((l.Query.Page-1)*perPage + 1) }

// Last is as First.
func (l list) Last() int64 { return l.First() + int64(len(l.Cards)) - 1 }

func drop(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// options are the values that there are, and those that were asked for.
func options(facets []gallery.Facet, on []string) []option {
	var all []option
	for _, f := range facets {
		all = append(all, option{Value: f.Value, Label: clean(f.Value), Count: int64(f.Count), On: slices.Contains(on, f.Value)})
	}
	for _, value := range on {
		if !slices.ContainsFunc(all, func(o option) bool { return o.Value == value }) {
			all = append(all, option{Value: value, Label: value, On: true})
		}
	}
	return all
}

func (s *site) home(w http.ResponseWriter, r *http.Request) error {
	popular, updated, total, err := s.Gallery.Home(r.Context())
	if err != nil {
		return err
	}
	return s.show(w, r, http.StatusOK, "home", page{
		Description: "Find and pull public container images.", Path: "/", Hero: true, Index: true,
		Body: struct {
			Popular, Updated         []card
			Total                    int64
			MorePopular, MoreUpdated string
		}{cardsOf(popular), cardsOf(updated), int64(total), query{Sort: gallery.Popular}.href("/search"), query{Sort: gallery.Updated}.href("/search")},
	})
}

func (s *site) search(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	res, err := s.Gallery.Search(r.Context(), q.ask(""))
	if err != nil {
		return err
	}
	l := listOf("/search", q, res)
	l.filtered(res)
	title := "All repositories"
	if q.Term != "" {
		title = "Search: " + q.Term
	}
	return s.show(w, r, http.StatusOK, "search", page{
		Title: title, Description: "Public container images in this gallery.", Path: q.href("/search"), Term: q.Term, Body: l,
	})
}

func (s *site) publisher(w http.ResponseWriter, r *http.Request, alias name.Alias) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	p, err := s.Gallery.Publisher(r.Context(), string(alias))
	if err != nil {
		return err
	}
	res, err := s.Gallery.Search(r.Context(), q.ask(p.Account))
	if err != nil {
		return err
	}
	// Anybody may call himself anything, so only the verified are headed by their names.
	shown, called := string(p.Alias), clean(p.DisplayName)
	if p.Verified && called != "" {
		shown, called = called, ""
	}
	var others []string
	for _, a := range p.Aliases {
		if a != p.Alias {
			others = append(others, string(a))
		}
	}
	return s.show(w, r, http.StatusOK, "publisher", page{
		Title: shown, Description: "Public container images of " + shown + ".", Path: "/" + string(p.Alias), Index: true,
		Body: struct {
			Name, Alias string
			Called      string // what an account that is not verified calls itself
			Others      []string
			Verified    bool
			Picture     picture
			List        list
		}{shown, string(p.Alias), called, others, p.Verified, pictureOf(string(p.Alias), ""), listOf("/"+string(alias), q, res)},
	})
}
