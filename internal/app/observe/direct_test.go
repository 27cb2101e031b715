package observe_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/app/observe"
)

// TestDirect: behind the middleware a connection still takes bytes from a reader,
// and they are counted; an encrypted one has no such way.
func TestDirect(t *testing.T) {
	content := strings.Repeat("0123456789", 100_000)
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		o := newObserver(t, observe.Config{})
		server := httptest.NewUnstartedServer(o.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			o.Registry(w, observation.Request{Kind: path.Blob, Actions: []string{"GetDownloadUrlForLayer"}, Caller: "arn"})
			to, direct := w.(io.ReaderFrom)
			if direct == secured {
				t.Errorf("%s: takes from a reader: %v", name, direct)
			}
			w.Header().Set("Content-Length", "1000010")
			if !direct {
				_, _ = io.WriteString(w, content) // the client has a look
				return
			}
			if n, err := to.ReadFrom(strings.NewReader(content)); n != 1_000_000 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("%s: flush: %v", name, err)
			}
		})))
		start := server.Start
		if secured {
			start = server.StartTLS
		}
		start()
		answer, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, []byte(content)) || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %d with %d bytes, %v", name, answer.StatusCode, len(got), err)
		}
		_ = answer.Body.Close() // it was read as far as it came
		text := metrics(t, o)
		expect(t, text, "berth_sent_bytes_total", `{content="layer"} 1e+06`)
		expect(t, text, "berth_answers_cut_total", `{content="layer"} 1`) // ten bytes are missing
		expect(t, text, "berth_registry_requests_total", `{route="blob_get",status="200"} 1`)
		expect(t, text, "berth_first_byte_seconds_count", `{content="layer"} 1`)
		server.Close()
	}
}
