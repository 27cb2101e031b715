package scanadmin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/scanadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestParseReference(t *testing.T) {
	d := name.SHA256([]byte("x"))
	for text, want := range map[string]image.Ref{
		"app": {}, "team/app": {}, "team/app:1.2": {Tag: "1.2"}, "team/app@" + string(d): {Digest: d}, "app:_x": {Tag: "_x"},
	} {
		repo, ref, err := scanadmin.ParseReference(text)
		if err != nil || ref != want || repo != name.Repository(strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '@' })[0]) {
			t.Errorf("%s: %s %+v %v", text, repo, ref, err)
		}
	}
	for _, text := range []string{"", ":", "@", "app:", "app@", "app@sha256:12", "app:a b", "Team/app", "host:5000/app", "app:1@" + string(d), "app@" + string(d) + "@x", "a//b"} {
		if repo, ref, err := scanadmin.ParseReference(text); err == nil || !strings.Contains(err.Error(), "Write team/app") {
			t.Errorf("%q: %s %+v %v", text, repo, ref, err)
		}
	}
}

// admin speaks to the administration socket.
type admin struct {
	t      *testing.T
	client *http.Client
}

// do asks for something and reads the answer, or returns the text of a refusal.
func (a admin) do(path string, in, out any) string {
	a.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "http://berth"+path, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return strings.TrimSpace(string(text))
	}
	if err := json.Unmarshal(text, out); err != nil {
		a.t.Fatal(err)
	}
	return ""
}

// start runs the program with its socket.
func start(t *testing.T) (*apptest.Server, admin) {
	t.Helper()
	data := ""
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { data, c.Listen = c.Data, "127.0.0.1:0" }})
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.App.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return s, admin{t, app.AdminClient(data)}
}

// TestGate: a rule that is made over the socket holds an image back from every way of
// pulling it, and no other thing.
func TestGate(t *testing.T) {
	s, a := start(t)
	s.CreateRepository(t, "team/app")
	s.CreateRepository(t, "other")
	auth := s.Authorization(t)
	d := apptest.PushImage(t, s.URL, auth, "team/app", "v1", nil, []byte("layer"))
	apptest.PushImage(t, s.URL, auth, "other", "v1", nil, []byte("layer"))
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"platform":{"architecture":"amd64","os":"linux"}}]}`, d, 1)
	get := func(method, repo, ref string) (int, string) {
		t.Helper()
		resp, body := apptest.Do(t, method, s.URL+"/v2/"+repo+"/manifests/"+ref, auth, nil, nil)
		return resp.StatusCode, string(body)
	}
	_, manifest := get("GET", "team/app", "v1")
	index = bytes.Replace(index, []byte(`"size":1`), fmt.Appendf(nil, `"size":%d`, len(manifest)), 1)
	if resp, body := apptest.Do(t, "PUT", s.URL+"/v2/team/app/manifests/all", auth, index, map[string]string{"Content-Type": "application/vnd.oci.image.index.v1+json"}); resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	batch := func(repo string, tags ...string) *ecr.BatchGetImageOutput {
		t.Helper()
		in := &ecr.BatchGetImageInput{RepositoryName: &repo}
		for _, tag := range tags {
			in.ImageIds = append(in.ImageIds, types.ImageIdentifier{ImageTag: &tag})
		}
		out, err := s.ECR.BatchGetImage(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	var rule scanadmin.GateRule
	set := scanadmin.SetGateRuleRequest{Name: "quarantine", Repositories: []string{"team/*"}, Unscanned: "BLOCK"}
	if refusal := a.do("/scan/gate/set", set, &rule); refusal != "" || rule.Unscanned != "block" {
		t.Fatalf("%q %+v", refusal, rule)
	}
	const why = "The rule 'quarantine' of the pull gate holds back the image "
	for _, ref := range []string{"v1", d.String()} {
		if status, body := get("GET", "team/app", ref); status != 403 || !strings.Contains(body, why+d.String()) {
			t.Errorf("%s: %d %s", ref, status, body)
		}
		if status, _ := get("HEAD", "team/app", ref); status != 200 {
			t.Errorf("HEAD of %s: %d", ref, status)
		}
	}
	if status, _ := get("GET", "team/app", "all"); status != 200 {
		t.Errorf("the index: %d", status)
	}
	if status, _ := get("GET", "other", "v1"); status != 200 {
		t.Errorf("another repository: %d", status)
	}
	out := batch("team/app", "v1", "all", "gone")
	if len(out.Images) != 1 || *out.Images[0].ImageId.ImageTag != "all" || len(out.Failures) != 2 {
		t.Fatalf("%+v", out)
	}
	for _, f := range out.Failures {
		if tag := aws.ToString(f.ImageId.ImageTag); tag == "v1" && (f.FailureCode != types.ImageFailureCodeImageInaccessible || !strings.Contains(aws.ToString(f.FailureReason), why)) || tag == "gone" && f.FailureCode != types.ImageFailureCodeImageNotFound {
			t.Errorf("%s: %s %s", tag, f.FailureCode, aws.ToString(f.FailureReason))
		}
	}

	// A caller who is exempt, and a rule that is gone.
	set.Exempt = []string{"arn:aws:iam::" + rootAccount(t, s) + ":root"}
	if refusal := a.do("/scan/gate/set", set, &rule); refusal != "" {
		t.Fatal(refusal)
	}
	if status, _ := get("GET", "team/app", "v1"); status != 200 {
		t.Errorf("exempt: %d", status)
	}
	set.Exempt = nil
	if refusal := a.do("/scan/gate/set", set, &rule); refusal != "" {
		t.Fatal(refusal)
	}
	if status, _ := get("GET", "team/app", "v1"); status != 403 {
		t.Errorf("not exempt any more: %d", status)
	}
	if refusal := a.do("/scan/gate/delete", scanadmin.Named{Name: "quarantine"}, &scanadmin.Named{}); refusal != "" {
		t.Fatal(refusal)
	}
	if len(batch("team/app", "v1").Images) != 1 {
		t.Error("without a rule it is held back")
	}

	var status scanadmin.Status
	if refusal := a.do("/scan/status", scanadmin.StatusRequest{Reference: "team/app"}, &status); refusal != "" || len(status.Images) != 2 || status.Images[0].Status != "" {
		t.Errorf("%q %+v", refusal, status)
	}
	if refusal := a.do("/scan/status", scanadmin.StatusRequest{}, &status); refusal != "" || status.Backlog == nil || status.Backlog.Waiting != 0 {
		t.Errorf("%q %+v", refusal, status)
	}
	if refusal := a.do("/scan/sbom", scanadmin.SBOMRequest{Reference: "team/app:all", Format: "spdx"}, &scanadmin.SBOM{}); !strings.Contains(refusal, "There is no bill of materials of team/app:all") {
		t.Errorf("%q", refusal)
	}
	if refusal := a.do("/scan/tags/set", "nonsense", nil); !strings.Contains(refusal, "not the JSON of a request") {
		t.Errorf("%q", refusal)
	}
}

// rootAccount is the default account.
func rootAccount(t *testing.T, s *apptest.Server) string {
	t.Helper()
	out, err := s.ECR.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.RegistryId)
}

// TestDurations: what a length of time can be.
func TestDurations(t *testing.T) {
	_, a := start(t)
	for wait, seconds := range map[string]int64{"90m": 5400, "2h": 7200, "1d": 86400, "0d": 0, "": 0} {
		var rule scanadmin.GateRule
		refusal := a.do("/scan/gate/set", scanadmin.SetGateRuleRequest{Name: "x", Repositories: []string{"*"}, Unscanned: "block", Wait: wait}, &rule)
		if refusal != "" || rule.WaitSeconds != seconds {
			t.Errorf("%q: %q %d", wait, refusal, rule.WaitSeconds)
		}
	}
	for _, wait := range []string{"1", "-1h", "-1d", "d", "1y", "99999999999999999999d", "100001d", "500ms", "366d"} {
		if refusal := a.do("/scan/gate/set", scanadmin.SetGateRuleRequest{Name: "x", Repositories: []string{"*"}, Unscanned: "block", Wait: wait}, nil); !strings.Contains(refusal, "time") {
			t.Errorf("%q: %q", wait, refusal)
		}
	}
	var e scanadmin.Exception
	for until, days := range map[string]float64{"30d": 30, "12h": 0.5, time.Now().Add(72 * time.Hour).UTC().Format(time.RFC3339): 3} {
		if refusal := a.do("/scan/gate/exceptions/add", scanadmin.AddExceptionRequest{Vulnerability: "CVE-2026-1", Reason: "x", Until: until}, &e); refusal != "" || e.Until.Sub(e.Created).Hours()/24-days > 0.1 || e.Until.Sub(e.Created).Hours()/24-days < -0.1 {
			t.Errorf("%q: %q %+v", until, refusal, e)
		}
	}
}
