package search_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/berth-registry/berth/internal/domain/catalog/search"
	"pgregory.net/rapid"
)

// build makes an index of documents.
func build(t testing.TB, docs ...search.Document) *search.Index {
	t.Helper()
	b := search.NewBuilder()
	for _, d := range docs {
		if err := b.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	var x search.Index
	if err := x.Replace(b, nil, nil); err != nil {
		t.Fatal(err)
	}
	return &x
}

func apply(t testing.TB, x *search.Index, put []search.Document, remove ...int64) {
	t.Helper()
	if err := x.Apply(put, remove); err != nil {
		t.Fatal(err)
	}
}

func TestRanking(t *testing.T) {
	x := build(t,
		search.Document{ID: 1, Name: "tools/web-proxy", Publisher: "acme Acme Inc.", Description: "runs in front of nginx", Downloads: 900},
		search.Document{ID: 2, Name: "nginx-exporter", Publisher: "acme Acme Inc.", Downloads: 500},
		search.Document{ID: 3, Name: "nginx", Publisher: "acme Acme Inc.", Downloads: 1},
		search.Document{ID: 4, Name: "proxy", Publisher: "nginx Nginx", Downloads: 800},
		search.Document{ID: 5, Name: "nginxplus", Publisher: "other", Downloads: 2000},
		search.Document{ID: 6, Name: "ngnix-fork", Publisher: "other", Downloads: 5000},
		search.Document{ID: 7, Name: "redis", Publisher: "other", Downloads: 5000},
	)
	for text, want := range map[string][]int64{
		"nginx":             {3, 2, 5, 4, 1, 6}, // whole name, part of a name, beginning of one, publisher, description, typing error
		"NGINX":             {3, 2, 5, 4, 1, 6},
		"ngnix":             {6, 2, 3, 4, 1}, // one typed wrongly is found first, then what was meant
		"ngin":              {5, 2, 3, 4, 1},
		"nginx exp":         {2},
		"exporter/nginx":    {2},
		"acme inc":          {1, 2, 3},
		"acme redis":        {7, 1, 2, 3}, // none has both
		"kubernetes":        nil,
		"":                  {6, 7, 5, 1, 4, 2, 3}, // popular
		"  \t ":             {6, 7, 5, 1, 4, 2, 3},
		"?!":                nil,
		"red":               {7},
		"rdeis":             {7},
		"rds":               nil, // too short for an error
		"proxy proxy proxy": {4, 1},
	} {
		got := x.Search(search.Query{Text: text, Limit: 100})
		if !slices.Equal(got.IDs, want) || got.Total != len(want) {
			t.Errorf("%q: %v of %d, want %v", text, got.IDs, got.Total, want)
		}
	}
}

func TestFolding(t *testing.T) {
	x := build(t,
		search.Document{ID: 1, Name: "cafe", Publisher: "Crème Brûlée GmbH"},
		search.Document{ID: 2, Name: "big", Publisher: "ＢＩＧ Straße ΣΊΣΥΦΟΣ"},
		search.Document{ID: 3, Name: "jp", Publisher: "日本語の辞書", Description: "カタカナ ﬁle"},
		search.Document{ID: 4, Name: "bad", Publisher: "a\xff\xfeb \u202ereversed\u202c soft\u00adhyphen"},
	)
	for text, want := range map[string]int64{
		"café": 1, "creme BRULEE": 1, "cre\u0300me": 1, "big": 2, "ｂｉｇ": 2, "straße": 2, "σίσυφος": 2, "σισυφοσ": 2,
		"日本": 3, "辞書": 3, "本語": 3, "カナ": 3, "file": 3, "reversed": 4, "softhyphen": 4,
	} {
		if got := x.Search(search.Query{Text: text, Limit: 9}); !slices.Equal(got.IDs, []int64{want}) {
			t.Errorf("%q: %v, want %d", text, got.IDs, want)
		}
	}
}

func TestQueriesAreBounded(t *testing.T) {
	x := build(t, search.Document{ID: 1, Name: "one two three four five six seven eight"}, search.Document{ID: 2, Name: "nine " + strings.Repeat("x", 300)})
	if got := x.Search(search.Query{Text: "one two three four five six seven eight nine", Limit: 9}); !slices.Equal(got.IDs, []int64{1}) {
		t.Errorf("a ninth word: %v", got.IDs)
	}
	if got := x.Search(search.Query{Text: strings.Repeat("ü ", search.MaxQuery) + " nine", Limit: 9}); len(got.IDs) > 0 {
		t.Errorf("behind the end: %v", got.IDs)
	}
	if got := x.Search(search.Query{Text: strings.Repeat("x", 150), Limit: 9}); !slices.Equal(got.IDs, []int64{2}) {
		t.Errorf("a long word: %v", got.IDs)
	}
	if got := x.Search(search.Query{Limit: 9, Offset: 1 << 40}); len(got.IDs) > 0 || got.Total != 2 {
		t.Errorf("an offset behind the end: %v", got)
	}
}

func TestFacets(t *testing.T) {
	x := build(t,
		search.Document{ID: 1, Name: "a", Account: "1", Verified: true, OperatingSystems: []string{"Linux"}, Architectures: []string{"x86-64", "arm 64"}},
		search.Document{ID: 2, Name: "a", Account: "1", OperatingSystems: []string{"linux", "WINDOWS"}, Architectures: []string{"x86"}},
		search.Document{ID: 3, Name: "a", Account: "2", Verified: true, OperatingSystems: []string{"Windows", "Plan 9"}},
		search.Document{ID: 4, Name: "b", Account: "2", Architectures: []string{"ARM"}},
	)
	for _, c := range []struct {
		q    search.Query
		want string
	}{
		{search.Query{}, "[1 2 3 4] 4 2 [2 2] [1 1 1 1]"},
		{search.Query{Text: "a"}, "[1 2 3] 3 2 [2 2] [0 1 1 1]"},
		{search.Query{Account: "2"}, "[3 4] 2 1 [0 1] [1 0 0 0]"},
		{search.Query{Account: "3"}, "[] 0 0 [0 0] [0 0 0 0]"},
		{search.Query{Verified: true}, "[1 3] 2 2 [1 1] [0 1 0 1]"},
		{search.Query{OperatingSystems: []string{"Windows"}}, "[2 3] 2 1 [2 2] [0 0 1 0]"},
		{search.Query{OperatingSystems: []string{"windows", "linux", "BeOS"}}, "[1 2 3] 3 2 [2 2] [0 1 1 1]"},
		{search.Query{OperatingSystems: []string{"BeOS"}}, "[] 0 0 [2 2] [0 0 0 0]"},
		{search.Query{OperatingSystems: []string{"Linux"}, Architectures: []string{"x86-64"}}, "[1] 1 1 [1 0] [0 1 1 1]"},
		{search.Query{Verified: true, Architectures: []string{"x86"}}, "[] 0 0 [0 0] [0 1 0 1]"},
	} {
		c.q.Limit, c.q.Sort = 10, search.Name
		r := x.Search(c.q)
		if got := fmt.Sprint(r.IDs, r.Total, r.Verified, r.OperatingSystems, r.Architectures); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
}

func TestBuilderRefusesDisorder(t *testing.T) {
	b := search.NewBuilder()
	for i, c := range []struct {
		id int64
		ok bool
	}{{5, true}, {5, false}, {4, false}, {6, true}} {
		if err := b.Add(search.Document{ID: c.id}); (err == nil) != c.ok {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestDownloadsAreAdded(t *testing.T) {
	x := build(t, search.Document{ID: 1, Name: "a", Downloads: 5}, search.Document{ID: 2, Name: "b", Downloads: 6})
	apply(t, x, []search.Document{{ID: 3, Name: "c", Downloads: 7}})
	x.AddDownloads(map[int64]int64{1: 10, 3: 9, 99: 1})
	order := func() []int64 { return x.Search(search.Query{Sort: search.Popular, Limit: 9}).IDs }
	if got := order(); !slices.Equal(got, []int64{3, 1, 2}) {
		t.Errorf("%v", got)
	}
	apply(t, x, []search.Document{{ID: 4, Name: "d"}}) // makes the small segment anew
	if got := order(); !slices.Equal(got, []int64{3, 1, 2, 4}) {
		t.Errorf("%v", got)
	}
}

// Readers see a whole state while a writer is at work: run with the race detector.
func TestConcurrentReaders(t *testing.T) {
	x := build(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Documents come and go in pairs.
				if r := x.Search(search.Query{Text: "pair", Limit: 100}); r.Total%2 != 0 || len(r.IDs) != min(r.Total, 100) {
					t.Errorf("%d hits", r.Total)
					return
				}
			}
		})
	}
	for i := range int64(200) {
		apply(t, x, []search.Document{{ID: 2 * i, Name: "pair"}, {ID: 2*i + 1, Name: "pair"}})
		if i%3 == 0 {
			apply(t, x, nil, 2*i, 2*i+1)
		}
		x.AddDownloads(map[int64]int64{i: 1})
		if i%50 == 49 {
			b := search.NewBuilder()
			for j := range i {
				if err := b.Add(search.Document{ID: j * 2, Name: "pair"}); err != nil {
					t.Fatal(err)
				}
				if err := b.Add(search.Document{ID: j*2 + 1, Name: "pair"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := x.Replace(b, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// The naive search: every document is looked at, with no index.

var vocabulary = []string{"nginx", "ngnix", "web", "webapp", "server", "servers", "database", "databse", "databases", "py3", "python", "python3", "a", "ab", "abc", "café", "日本", "kubernetes", "kuberntes", "proxy"}

func split(text string) []string {
	return strings.FieldsFunc(strings.NewReplacer("é", "e", "日", " 日 ", "本", " 本 ").Replace(strings.ToLower(text)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
}

// distance is the textbook's optimal string alignment distance.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	d := make([][]int, len(x)+1)
	for i := range d {
		d[i] = make([]int, len(y)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			c := 1
			if x[i-1] == y[j-1] {
				c = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+c)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(x)][len(y)]
}

// naiveWorth is what a word is worth in a document, and whether it is exactly in the name.
func naiveWorth(d search.Document, word string, last bool, errors int) (worth int, named bool) {
	for i, field := range []string{d.Name, d.Publisher, d.Description} {
		for _, own := range split(field) {
			points := 0
			switch {
			case own == word:
				points, named = 12, named || i == 0
			case last && strings.HasPrefix(own, word):
				points = 9
			case errors > 0 && distance(own, word) <= errors:
				points = 4 - distance(own, word)
			}
			worth = max(worth, points*[]int{10, 7, 4}[i])
		}
	}
	return worth, named
}

func naiveErrors(word string) int {
	switch n := len([]rune(word)); {
	case n < 4, strings.ContainsAny(word, "0123456789"):
		return 0
	case n < 8:
		return 1
	}
	return 2
}

func distinct(all []string) (out []string) {
	for i, w := range all {
		if !slices.Contains(all[i+1:], w) {
			out = append(out, w)
		}
	}
	return out
}

func naive(docs map[int64]search.Document, q search.Query) []int64 {
	looked := distinct(split(q.Text))
	type hit struct {
		search.Document
		score, matched, named int
	}
	var hits []hit
	for _, d := range docs {
		if q.Account == "" || d.Account == q.Account {
			hits = append(hits, hit{Document: d})
		}
	}
	for i, word := range looked {
		last, direct := i == len(looked)-1, 0
		for _, h := range hits {
			if w, _ := naiveWorth(h.Document, word, last, 0); w > 0 {
				direct++
			}
		}
		errors := 0
		if direct < 24 {
			errors = naiveErrors(word)
		}
		for n := range hits {
			w, named := naiveWorth(hits[n].Document, word, last, errors)
			hits[n].score += w
			if w > 0 {
				hits[n].matched++
			}
			if named {
				hits[n].named++
			}
		}
	}
	most := 0
	for _, h := range hits {
		most = max(most, h.matched)
	}
	if len(looked) > 0 && most == 0 {
		return nil
	}
	hits = slices.DeleteFunc(hits, func(h hit) bool { return h.matched < most || q.Verified && !h.Verified })
	for n, h := range hits {
		if all := len(distinct(split(h.Name))); h.named > 0 {
			hits[n].score += 32 * h.named / all
			if h.named == all && all == len(looked) {
				hits[n].score += 200
			}
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		popular := cmp.Or(cmp.Compare(b.Downloads, a.Downloads))
		switch {
		case q.Sort == search.Updated:
			return cmp.Or(cmp.Compare(b.Updated, a.Updated), cmp.Compare(a.ID, b.ID))
		case q.Sort == search.Name:
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		case q.Sort == search.Relevance && len(looked) > 0:
			return cmp.Or(cmp.Compare(b.score, a.score), popular, cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(popular, cmp.Compare(b.Updated, a.Updated), cmp.Compare(a.ID, b.ID))
	})
	var ids []int64
	for _, h := range hits {
		ids = append(ids, h.ID)
	}
	return ids
}

// The index finds what looking at every document finds, in the same order, whatever was
// put, replaced, taken out and rebuilt.
func TestAgainstNaiveSearch(t *testing.T) {
	word := rapid.SampledFrom(vocabulary)
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "words"), rapid.SampledFrom([]string{" ", "-", "/", ", "}).Draw(t, "between"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		document := func(id int64) search.Document {
			return search.Document{
				ID: id, Name: text.Draw(rt, "name"), Publisher: text.Draw(rt, "publisher"), Description: text.Draw(rt, "description"),
				Account: rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "account"), Verified: rapid.Bool().Draw(rt, "verified"),
				Downloads: rapid.Int64Range(0, 3).Draw(rt, "downloads"), Updated: rapid.Int64Range(0, 3).Draw(rt, "updated"),
			}
		}
		id := rapid.Int64Range(1, 40)
		docs := map[int64]search.Document{}
		var x search.Index
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				var put []search.Document
				for _, n := range rapid.SliceOfN(id, 1, 10).Draw(rt, "ids") {
					d := document(n)
					put, docs[n] = append(put, d), d
				}
				apply(t, &x, put)
			},
			"remove": func(rt *rapid.T) {
				n := id.Draw(rt, "id")
				delete(docs, n)
				apply(t, &x, nil, n)
			},
			"rebuild": func(rt *rapid.T) {
				b := search.NewBuilder()
				for _, n := range slices.Sorted(maps.Keys(docs)) {
					if err := b.Add(docs[n]); err != nil {
						rt.Fatal(err)
					}
				}
				var put []search.Document
				for _, n := range rapid.SliceOfN(id, 0, 5).Draw(rt, "changed meanwhile") {
					d := document(n)
					put, docs[n] = append(put, d), d
				}
				gone := id.Draw(rt, "gone meanwhile")
				delete(docs, gone)
				if err := x.Replace(b, put, []int64{gone}); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				q := search.Query{
					Text: text.Draw(rt, "query"), Account: rapid.SampledFrom([]string{"", "1"}).Draw(rt, "of"), Verified: rapid.Bool().Draw(rt, "only"),
					Sort: rapid.SampledFrom([]search.Sort{search.Relevance, search.Popular, search.Updated, search.Name}).Draw(rt, "sort"),
				}
				if cut := []rune(q.Text); len(cut) > 0 {
					q.Text = string(cut[:rapid.IntRange(1, len(cut)).Draw(rt, "cut")])
				}
				if strings.TrimSpace(q.Text) != "" && len(split(q.Text)) == 0 {
					q.Text = ""
				}
				want := naive(docs, q)
				q.Offset, q.Limit = rapid.IntRange(0, 5).Draw(rt, "offset"), rapid.IntRange(0, 50).Draw(rt, "limit")
				page := want[min(q.Offset, len(want)):min(q.Offset+q.Limit, len(want))]
				if got := x.Search(q); !slices.Equal(got.IDs, page) || got.Total != len(want) {
					rt.Fatalf("%+v: %v of %d, want %v of %d", q, got.IDs, got.Total, page, len(want))
				}
				if s := x.Stats(); s.Documents != len(docs) {
					rt.Fatalf("%d documents, not %d", s.Documents, len(docs))
				}
			},
		})
	})
}

// FuzzSearch: a document is found by every word of its own name, whatever that is, and
// nothing that is looked for does harm.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{"nginx", "İstanbul ß ﬃ", "日本語", "\xff\xfe", "a\u0301\u0301", "ΐ", "x\u0345", strings.Repeat("é", 70), "ǅ ͅ"} {
		f.Add(s, "web server")
	}
	f.Fuzz(func(t *testing.T, text, query string) {
		x := build(t, search.Document{ID: 1, Name: text, Description: query}, search.Document{ID: 2, Name: query, Publisher: text})
		apply(t, x, []search.Document{{ID: 3, Publisher: text}, {ID: 2, Name: text + " " + query}})
		x.Search(search.Query{Text: query, Limit: 10})
		if len(text) > 150 { // beyond the bounds of a query
			return
		}
		for _, w := range strings.Fields(text) {
			r := x.Search(search.Query{Text: w, Limit: 10, OperatingSystems: []string{text}})
			all := x.Search(search.Query{Text: w, Limit: 10})
			if strings.ContainsFunc(w, func(c rune) bool { return c < 0x80 && (unicode.IsLetter(c) || unicode.IsNumber(c)) }) && all.Total != 3 {
				t.Errorf("%q in %q: %d hits", w, text, all.Total)
			}
			if r.Total > 0 && !strings.EqualFold(text, "linux") && !strings.EqualFold(text, "windows") {
				t.Errorf("%q is no operating system", text)
			}
		}
	})
}

// many makes n documents like those of a large gallery.
func many(n int) []search.Document {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same ones every time
	stems := []string{"nginx", "redis", "postgres", "python", "node", "golang", "java", "spark", "kafka", "grafana", "prometheus", "envoy", "istio", "mysql", "mongo", "rabbit", "tensor", "torch", "cuda", "alpine", "ubuntu", "debian", "amazon", "linux", "lambda", "runner", "agent", "operator", "controller", "exporter"}
	pick := func() string { return stems[random.IntN(len(stems))] }
	made := func() string { // a word that few have
		var b strings.Builder
		for range 2 + random.IntN(3) {
			b.WriteString([]string{"ba", "ko", "ri", "tu", "mel", "san", "dor", "vik", "lo", "pen", "qua", "zi"}[random.IntN(12)])
		}
		return b.String()
	}
	docs := make([]search.Document, n)
	for i := range docs {
		account := random.IntN(n/20 + 1)
		docs[i] = search.Document{
			ID: int64(i+1) << 22, Account: fmt.Sprintf("%012d", account), Name: made() + "/" + pick() + "-" + made(), Publisher: fmt.Sprintf("a%dx %s", account, made()),
			Description: fmt.Sprintf("The %s %s image for %s with %s and %s, ready to run", pick(), made(), pick(), pick(), made()),
			Verified:    account%10 == 0, OperatingSystems: []string{"Linux"}, Architectures: []string{"x86-64", "ARM 64"},
			Downloads: int64(random.IntN(1_000_000)), Updated: int64(i),
		}
	}
	return docs
}

// Pages of large results are what sorting all of it gives.
func TestDeepPages(t *testing.T) {
	docs := many(3000)
	x := build(t, docs...)
	for _, by := range []search.Sort{search.Popular, search.Updated, search.Name} {
		slices.SortFunc(docs, func(a, b search.Document) int {
			switch by {
			case search.Name:
				return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
			case search.Updated:
				return cmp.Compare(b.Updated, a.Updated)
			case search.Popular, search.Relevance:
			}
			return cmp.Or(cmp.Compare(b.Downloads, a.Downloads), cmp.Compare(b.Updated, a.Updated))
		})
		for offset := 0; offset < 3200; offset += 400 {
			var want []int64
			for _, d := range docs[min(offset, 3000):min(offset+30, 3000)] {
				want = append(want, d.ID)
			}
			if got := x.Search(search.Query{Sort: by, Offset: offset, Limit: 30}); !slices.Equal(got.IDs, want) {
				t.Errorf("%d from %d: %v, want %v", by, offset, got.IDs, want)
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	docs := many(100_000)
	b.ReportAllocs()
	var x *search.Index
	for b.Loop() {
		x = build(b, docs...)
	}
	b.ReportMetric(float64(x.Stats().Bytes)/float64(len(docs)), "index-B/doc")
}

func BenchmarkApply(b *testing.B) {
	docs := many(100_000)
	for _, n := range []int{1, 100, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := build(b, docs...)
			for b.Loop() {
				apply(b, x, docs[:n])
			}
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	x := build(b, many(100_000)...)
	for name, q := range map[string]search.Query{
		"word":        {Text: "nginx"},
		"two words":   {Text: "nginx postgres"},
		"common":      {Text: "image"},
		"typo":        {Text: "prometeus"},
		"long typo":   {Text: "bakoritumelz"},
		"one letter":  {Text: "p"},
		"eight words": {Text: "the image for with and ready to run"},
		"all popular": {},
		"all name":    {Sort: search.Name},
		"filters":     {Text: "nginx", Verified: true, Architectures: []string{"ARM 64"}},
		"deep":        {Text: "image", Offset: 10_000},
		"nothing":     {Text: "zzzzzzzzzz"},
	} {
		q.Limit = 24
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Search(q)
			}
		})
	}
}
