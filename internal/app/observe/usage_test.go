package observe_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage"
)

// told is a Meter that writes down what it is told.
type told struct{ lines []string }

func (m *told) AWS(a aws.Observation, sent, received int64) {
	m.lines = append(m.lines, fmt.Sprint("call ", a.Call.Operation, " ", sent, " ", received))
}

func (m *told) Registry(r observation.Request, sent, received int64) {
	m.lines = append(m.lines, fmt.Sprint("request ", r.Repository, " ", sent, " ", received))
}

func (m *told) Download(path string, status int, sent int64) {
	m.lines = append(m.lines, fmt.Sprint("download ", path, " ", status, " ", sent))
}

// TestMeter: the meter hears of every request of the edges, with what was really moved.
func TestMeter(t *testing.T) {
	o, m := newObserver(t, observe.Config{}), &told{}
	answer := func(how func(http.ResponseWriter)) {
		serve(o, httptest.NewRequest(http.MethodPost, "/a/b", strings.NewReader("seven..")), func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // counted as it is read
			how(w)
			_, _ = w.Write([]byte("nine....."))
		})
	}
	answer(func(w http.ResponseWriter) { o.AWS(w, aws.Observation{Call: &aws.Call{Operation: "PutImage"}}) }) // without a meter
	o.Meter(m)
	answer(func(w http.ResponseWriter) { o.AWS(w, aws.Observation{Call: &aws.Call{Operation: "PutImage"}}) })
	answer(func(w http.ResponseWriter) { o.Registry(w, observation.Request{Repository: "app"}) })
	answer(func(w http.ResponseWriter) { o.Download(w); w.WriteHeader(http.StatusPartialContent) })
	answer(func(http.ResponseWriter) {})
	if want := []string{"call PutImage 9 7", "request app 9 7", "download /a/b 206 9"}; !slices.Equal(m.lines, want) {
		t.Errorf("the meter is told %q, want %q", m.lines, want)
	}
}

// pulled are numbers of pulls.
type pulled []usage.PullCount

func (p pulled) PullCounts() []usage.PullCount { return p }

// TestRepositoryPulls: the metric is there for who asks for it, and for nobody else.
func TestRepositoryPulls(t *testing.T) {
	const metric = "berth_usage_repository_pulls_total"
	if text := metrics(t, newObserver(t, observe.Config{})); strings.Contains(text, metric) {
		t.Error("repositories are shown to who has not asked")
	}
	o := newObserver(t, observe.Config{})
	err := o.RepositoryPulls(pulled{{Registry: name.Registry{Account: "111122223333", Region: "us-east-1"}, Repository: "team/app", Pulls: 3}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, metrics(t, o), metric, `{account="111122223333",region="us-east-1",repository="team/app"} 3`)
}
