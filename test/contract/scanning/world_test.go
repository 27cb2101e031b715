package scanning

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// limit bounds every wait, for a machine that is busy with other tests.
const limit = 2 * time.Minute

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// must ends the test where its preparation failed.
func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// decode reads the JSON that a client has printed.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("this is no JSON: %v\n%.500s", err, text)
	}
	return v
}

// world is a server whose images are scanned.
type world struct {
	*harness.Server
	root *harness.Registry // the default registry, for its root user
}

func start(t *testing.T, o harness.Options) *world {
	t.Helper()
	s := harness.Start(t, o)
	return &world{Server: s, root: s.Registry(t)}
}

// try runs a berth command against the server.
func (w *world) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := w.Command(t.Context(), append(args, "--data", w.Data)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	return out.String(), complaint.String(), err
}

// berth runs a berth command, which has to succeed, and returns what it printed.
func (w *world) berth(t *testing.T, args ...string) string {
	t.Helper()
	out, complaint, err := w.try(t, args...)
	if err != nil {
		t.Fatalf("berth %s: %v\n%s%s", strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// refused runs a berth command, which has to end with status 1 and the text.
func (w *world) refused(t *testing.T, text string, args ...string) {
	t.Helper()
	out, complaint, err := w.try(t, args...)
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended || exit.ExitCode() != 1 || !strings.Contains(complaint, text) || out != "" {
		t.Errorf("berth %s: %v, want status 1 and %q\n%s%s", strings.Join(args, " "), err, text, out, complaint)
	}
}

// environment begins scripts in which aws is the AWS CLI for the server's root user.
func environment(b *harness.Box, s *harness.Server) string {
	// berth env says the same of an AWS CLI that is old, if that tells its version in time.
	return b.Run(s.Binary(), "env", "--data", s.Data) + "\naws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }\n"
}

// cli runs such scripts.
func (w *world) cli(t *testing.T) func(script string) string {
	t.Helper()
	b := harness.NewBox(t, "bash", "aws")
	env := environment(b, w.Server)
	return func(script string) string {
		t.Helper()
		return b.Script(env + script)
	}
}

// made is when the n-th database was made: the later, the greater n.
func made(n int) time.Time { return time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC) }

// database is a published archive ("db.tar.gz") of a database that was made at made(n)
// and has the advisories.
func database(t *testing.T, n int, buckets ...matchtest.Bucket) []byte {
	t.Helper()
	return archived(t, matchtest.DB{UpdatedAt: made(n), Buckets: buckets})
}

func archived(t *testing.T, db matchtest.DB) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := matchtest.Write(dir, db); err != nil {
		t.Fatal(err)
	}
	return must(matchtest.Archive(dir))(t)
}

// perl are the advisories of the thirteen vulnerabilities.
func perl(t *testing.T) []matchtest.Bucket {
	t.Helper()
	return must(matchtest.PerlDB())(t).Buckets
}

// file writes a file for a command to read.
func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// take imports a database.
func (w *world) take(t *testing.T, archive []byte, flags ...string) string {
	t.Helper()
	return w.berth(t, append([]string{"vulndb", "import", file(t, archive)}, flags...)...)
}

// onPush makes repositories whose images are scanned when they are pushed.
func (w *world) onPush(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		must(w.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{
			RepositoryName: &name, ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true},
		}))(t)
	}
}

// ref names an image by its digest or a tag.
func ref(text string) *types.ImageIdentifier {
	if strings.HasPrefix(text, "sha256:") {
		return &types.ImageIdentifier{ImageDigest: &text}
	}
	return &types.ImageIdentifier{ImageTag: &text}
}

func (w *world) describe(t *testing.T, repo, image string) (*ecr.DescribeImageScanFindingsOutput, error) {
	t.Helper()
	return w.ECR().DescribeImageScanFindings(t.Context(), &ecr.DescribeImageScanFindingsInput{RepositoryName: &repo, ImageId: ref(image), MaxResults: aws.Int32(1000)})
}

// becomes waits until the scan of an image stands so, and returns what is said of it.
func (w *world) becomes(t *testing.T, repo, image string, want types.ScanStatus) *ecr.DescribeImageScanFindingsOutput {
	t.Helper()
	var last *ecr.DescribeImageScanFindingsOutput
	var err error
	arrived := false
	defer func() {
		if !arrived {
			t.Logf("the scan of %s:%s: %v %+v", repo, image, err, last)
		}
	}()
	wait(t, fmt.Sprintf("the scan of %s:%s to be %s", repo, image, want), func() bool {
		last, err = w.describe(t, repo, image)
		arrived = err == nil && last.ImageScanStatus.Status == want
		return arrived
	})
	return last
}

// waiter is the SDK's, which asks more often than it would by itself.
func (w *world) waiter() *ecr.ImageScanCompleteWaiter {
	return ecr.NewImageScanCompleteWaiter(w.ECR(), func(o *ecr.ImageScanCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	})
}

// complete waits for the end of a basic scan with the SDK's waiter, and returns its
// findings as lines "id severity package version", in their order.
func (w *world) complete(t *testing.T, repo, image string) []string {
	t.Helper()
	in := &ecr.DescribeImageScanFindingsInput{RepositoryName: &repo, ImageId: ref(image), MaxResults: aws.Int32(1000)}
	out, err := w.waiter().WaitForOutput(t.Context(), in, limit)
	if err != nil {
		last, why := w.describe(t, repo, image)
		t.Fatalf("the scan of %s:%s: %v (%+v %v)", repo, image, err, last, why)
	}
	var all []string
	for _, f := range out.ImageScanFindings.Findings {
		values := map[string]string{}
		for _, a := range f.Attributes {
			values[aws.ToString(a.Key)] = aws.ToString(a.Value)
		}
		all = append(all, strings.Join([]string{aws.ToString(f.Name), string(f.Severity), values["package_name"], values["package_version"]}, " "))
	}
	return all
}

// fails wants an error of AWS's with this name and a text.
func fails(t *testing.T, what string, err error, exception, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), exception) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %s with %q", what, err, exception, text)
	}
}

// same compares lists of lines.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n %s\nwant\n %s", what, strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

// counts compares the counts of severities.
func counts(t *testing.T, what string, got, want map[string]int32) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s counts %v, want %v", what, got, want)
	}
}

// configure sets the scanning configuration of the default registry; rules are
// "FREQUENCY filter".
func (w *world) configure(t *testing.T, kind types.ScanType, rules ...string) {
	t.Helper()
	in := &ecr.PutRegistryScanningConfigurationInput{ScanType: kind}
	for _, r := range rules {
		frequency, filter, _ := strings.Cut(r, " ")
		in.Rules = append(in.Rules, types.RegistryScanningRule{
			ScanFrequency:     types.ScanFrequency(frequency),
			RepositoryFilters: []types.ScanningRepositoryFilter{{Filter: &filter, FilterType: types.ScanningRepositoryFilterTypeWildcard}},
		})
	}
	must(w.ECR().PutRegistryScanningConfiguration(t.Context(), in))(t)
}
