package observe_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
)

// patience is how long what must happen may take.
const patience = time.Minute

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// get reads a page of a handler.
func get(t *testing.T, h http.Handler, target string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w.Code, w.Body.String()
}

// settled reads the metrics once every request is over: a client has its answer
// before the request is counted.
func settled(t *testing.T, h http.Handler) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		status, text := get(t, h, "/metrics")
		if status != http.StatusOK {
			t.Fatalf("/metrics answers %d %s", status, text)
		}
		if strings.Contains(text, "\nberth_http_requests_in_flight 0\n") {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatal("requests are in flight for ever")
		}
	}
}

// samples are the samples of a metric that are not 0, as lines without its name.
func samples(text, metric string) string {
	var all []string
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), metric)
		if ok && rest != "" && (rest[0] == '{' || rest[0] == ' ') && !strings.HasSuffix(rest, " 0") {
			all = append(all, strings.TrimSpace(rest))
		}
	}
	return strings.Join(all, "\n")
}

func expect(t *testing.T, text, metric string, want ...string) {
	t.Helper()
	if got := samples(text, metric); got != strings.Join(want, "\n") {
		t.Errorf("%s is\n%s\nwant\n%s", metric, got, strings.Join(want, "\n"))
	}
}

// TestWholeProgram pushes, pulls, is refused in all ways, and reads what was
// counted and logged.
func TestWholeProgram(t *testing.T) {
	var log lockedBuffer
	s := apptest.Start(t, apptest.Options{
		Log:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Config: func(c *config.Config) { c.Log.Requests = "all" },
	})
	ctx := t.Context()
	s.CreateRepository(t, "team/app")
	token := s.Authorization(t)
	content := bytes.Repeat([]byte("layer bytes "), 1000) // 12,000
	layerBytes := float64(len(content))
	manifest := apptest.PushImage(t, s.URL, token, "team/app", "v1", nil, content)
	layer := apptest.PushBlob(t, s.URL, token, "team/app", content, nil) // once more: it is there
	do := func(method, path, authorization string, header map[string]string, want int) {
		t.Helper()
		answer, text := apptest.Do(t, method, s.URL+path, authorization, nil, header)
		if answer.StatusCode != want {
			t.Errorf("%s %s: %s %s", method, path, answer.Status, text)
		}
	}
	blob := "/v2/team/app/blobs/" + layer.String()
	do("GET", "/v2/team/app/manifests/v1", token, nil, 200)
	do("HEAD", "/v2/team/app/manifests/"+manifest.String(), token, nil, 200)
	do("GET", "/v2/team/app/manifests/none", token, nil, 404)
	do("GET", blob, token, nil, 200)
	do("GET", blob, token, map[string]string{"Range": "bytes=0-99"}, 206)
	do("HEAD", blob, token, nil, 200)
	do("POST", "/v2/team/app/blobs/uploads/", token, nil, 202) // stays open
	do("BREW", blob, token, nil, 405)
	do("GET", "/v2/", "", nil, 401)
	do("GET", "/v2/", "Basic "+"QVdTOm5vIHRva2Vu", nil, 401)
	do("GET", "/healthz", "", nil, 200)

	// Operations that nobody has are one label, however they are called.
	for _, operation := range []string{"InventedByAClient", "Another/One"} {
		do("POST", "/", "", map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921." + operation}, 400)
	}
	do("POST", "/", "", map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Invented.Operation"}, 400)

	address, err := s.ECR.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: aws.String("team/app"), LayerDigest: aws.String(layer.String())})
	if err != nil {
		t.Fatal(err)
	}
	target := strings.TrimPrefix(*address.DownloadUrl, s.URL)
	do("GET", target, "", nil, 200)
	do("GET", target+"0", "", nil, 403)

	// A policy that denies everybody, on both wires.
	if _, err := s.ECR.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{
		RepositoryName: aws.String("team/app"),
		PolicyText:     aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":["ecr:DescribeImages","ecr:BatchGetImage"]}]}`),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ECR.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("team/app")}); err == nil {
		t.Error("a denied call went through")
	}
	do("GET", "/v2/team/app/manifests/v1", token, nil, 403)

	text := settled(t, s.App.Operations())
	expect(t, text, "berth_aws_requests_total",
		`{code="AccessDeniedException",operation="DescribeImages",service="ecr"} 1`,
		`{code="IncompleteSignatureException",operation="unknown",service="ecr"} 2`,
		`{code="UnknownOperationException",operation="unknown",service="unknown"} 1`,
		`{code="ok",operation="CreateRepository",service="ecr"} 1`,
		`{code="ok",operation="GetAuthorizationToken",service="ecr"} 1`,
		`{code="ok",operation="GetDownloadUrlForLayer",service="ecr"} 1`,
		`{code="ok",operation="SetRepositoryPolicy",service="ecr"} 1`)
	expect(t, text, "berth_registry_requests_total",
		`{route="blob_get",status="200"} 1`, `{route="blob_get",status="206"} 1`, `{route="blob_head",status="200"} 1`,
		`{route="manifest_get",status="200"} 1`, `{route="manifest_get",status="403"} 1`, `{route="manifest_get",status="404"} 1`,
		`{route="manifest_head",status="200"} 1`, `{route="manifest_put",status="201"} 1`, `{route="unknown",status="405"} 1`,
		`{route="upload_finish",status="201"} 3`, `{route="upload_start",status="202"} 4`, `{route="version",status="401"} 2`)
	expect(t, text, "berth_registry_request_duration_seconds_count",
		`{route="blob_get"} 2`, `{route="blob_head"} 1`, `{route="manifest_get"} 3`, `{route="manifest_head"} 1`, `{route="manifest_put"} 1`,
		`{route="unknown"} 1`, `{route="upload_finish"} 3`, `{route="upload_start"} 4`, `{route="version"} 2`)
	expect(t, text, "berth_download_requests_total", `{status="200"} 1`, `{status="403"} 1`)
	expect(t, text, "berth_other_requests_total", `{status="200"} 1`)
	expect(t, text, "berth_layer_downloads_total", `{how="stream",source="address"} 1`, `{how="stream",source="registry"} 2`)
	expect(t, text, "berth_first_byte_seconds_count", `{content="layer"} 3`, `{content="manifest"} 1`)
	expect(t, text, "berth_answers_cut_total")
	expect(t, text, "berth_authentication_failures_total",
		`{api="aws",kind="incomplete"} 2`, `{api="download",kind="invalid"} 1`, `{api="registry",kind="invalid"} 1`, `{api="registry",kind="missing"} 1`)
	expect(t, text, "berth_denials_total", `{api="aws",operation="DescribeImages"} 1`, `{api="registry",operation="BatchGetImage"} 1`)
	expect(t, text, "berth_quota_refusals_total")
	// As AWS counts them: the two kinds of layer look-ups, three GETs and one HEAD
	// of manifests, one denied, and layer parts with the PUTs that brought bytes.
	expect(t, text, "berth_usage_call_count",
		`{class="None",resource="BatchCheckLayerAvailability",service="ECR",type="API"} 1`,
		`{class="None",resource="BatchGetImage",service="ECR",type="API"} 4`,
		`{class="None",resource="CompleteLayerUpload",service="ECR",type="API"} 3`,
		`{class="None",resource="GetAuthorizationToken",service="ECR",type="API"} 1`,
		`{class="None",resource="GetDownloadUrlForLayer",service="ECR",type="API"} 3`,
		`{class="None",resource="InitiateLayerUpload",service="ECR",type="API"} 4`,
		`{class="None",resource="PutImage",service="ECR",type="API"} 1`,
		`{class="None",resource="UploadLayerPart",service="ECR",type="API"} 3`)
	expect(t, text, "berth_uploads_open", "1")
	// The configuration, small as it is, stands in its row.
	if got := samples(text, "berth_blobstore_operations_total"); !strings.Contains(got, `{operation="commit",region="us-east-1",result="ok",store="main"} 2`) ||
		!strings.Contains(got, `{operation="first_byte",region="us-east-1",result="ok",store="main"} 3`) || strings.Contains(got, `result="error"`) {
		t.Errorf("the stores did\n%s", got)
	}
	if got := samples(text, "berth_db_transactions_total"); !strings.Contains(got, `{db="durable",kind="update",result="ok"}`) ||
		!strings.Contains(got, `{db="volatile",kind="update",result="ok"}`) || strings.Contains(got, `result="failed"`) {
		t.Errorf("the databases did\n%s", got)
	}
	for _, metric := range []string{"berth_db_connections_max", "berth_db_group_commits_total", "berth_blobstore_free_bytes", "berth_build_info", "berth_gc_reviews", "go_goroutines", "process_resident_memory_bytes"} {
		if samples(text, metric) == "" {
			t.Errorf("there is no %s", metric)
		}
	}
	if received := samples(text, "berth_received_bytes_total"); !strings.Contains(received, `{content="manifest"}`) {
		t.Errorf("received %s", received)
	}
	expect(t, text, `berth_sent_bytes_total{content="layer"}`, fmtFloat(2*layerBytes+100))
	// In labels: a sum of seconds may well have as many zeros as the account's number.
	if found := regexp.MustCompile(`\{[^}]*(team/app|000000000000|Invented)[^}]*\}`).FindString(text); found != "" {
		t.Errorf("a name that a client can choose is in the metrics: %s", found)
	}

	// What the log says.
	lines := log.String()
	for _, want := range []string{
		`api=registry operation=manifest_get status=200`, `api=aws operation=ecr:DescribeImages status=400`, `repository=team/app`,
		`principal=arn:aws:iam::000000000000:root`, `api=download operation=layer status=200 bytesIn=0 bytesOut=12000`, `sourceIp=127.0.0.1`, `code=MANIFEST_UNKNOWN`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the log has no %q", want)
		}
	}
	for what, secret := range map[string]string{"the token": strings.TrimPrefix(token, "Basic "), "a download's signature": target[strings.Index(target, "Signature="):]} {
		if strings.Contains(lines, secret) {
			t.Errorf("%s is in the log", what)
		}
	}
	if strings.Contains(requestLines(lines), "InventedByAClient") {
		t.Error("a line of the request log has a name that a client chose")
	}
}

func requestLines(log string) string {
	var all strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, "msg=request ") {
			all.WriteString(line)
		}
	}
	return all.String()
}

// TestRequestIDs: every answer of both wires carries its request id under AWS's
// name, and the log has the same one.
func TestRequestIDs(t *testing.T) {
	var log lockedBuffer
	s := apptest.Start(t, apptest.Options{
		Log:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Config: func(c *config.Config) { c.Log.Requests = "all" },
	})
	token := s.Authorization(t)
	var ids []string
	for _, c := range []struct{ method, path, authorization string }{
		{"GET", "/v2/", token}, {"GET", "/v2/", ""}, {"GET", "/v2/none/manifests/x", token}, {"GET", "/v2/none/nothing", token}, {"POST", "/", ""}, {"GET", "/?Action=GetCallerIdentity", ""},
	} {
		answer, _ := apptest.Do(t, c.method, s.URL+c.path, c.authorization, nil, nil)
		id := answer.Header.Get("X-Amzn-Requestid")
		if len(id) != 36 {
			t.Errorf("%s %s has the request id %q", c.method, c.path, id)
		}
		ids = append(ids, id)
	}
	settled(t, s.App.Operations())
	lines := requestLines(log.String())
	for _, id := range ids {
		if !strings.Contains(lines, "requestId="+id+" ") {
			t.Errorf("the request %s is not in the log", id)
		}
	}
}

// TestOperations: the operators' listener has health and profiles, and nothing of
// the registry.
func TestOperations(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	for target, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/symbol": 200,
		"/v2/": 404, "/": 404, "/debug/vars": 404,
	} {
		if status, text := get(t, s.App.Operations(), target); status != want {
			t.Errorf("%s answers %d %s", target, status, text)
		}
	}
	// The registry's own listener has none of it.
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		answer, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // it was read to its end
		if answer.StatusCode != http.StatusNotFound || strings.Contains(string(text), "goroutine") {
			t.Errorf("%s answers %s", path, answer.Status)
		}
	}
}
