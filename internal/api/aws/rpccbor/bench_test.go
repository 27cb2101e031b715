package rpccbor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws/rpccbor"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// metric is a call that asks for a metric, or an answer with some of its values.
func metric() *input {
	in := &input{Text: p("RepositoryPullCount"), Count: p(int64(300)), Ratio: p(0.5), At: shape.At(time.Unix(1795824000, 0).UTC()), Rates: map[string]float64{}}
	for i := range 10 {
		in.Texts = append(in.Texts, fmt.Sprint("a text of ", i))
		in.Leafs = append(in.Leafs, leaf{p(fmt.Sprint("key-", i))})
		in.Rates[fmt.Sprint("rate-", i)] = float64(i) / 3
	}
	return in
}

func BenchmarkDecode(b *testing.B) {
	doc, err := rpccbor.Protocol{}.Encode("Op", "", metric())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(doc.Body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	out := metric()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (rpccbor.Protocol{}).Encode("Op", "", out); err != nil {
			b.Fatal(err)
		}
	}
}
