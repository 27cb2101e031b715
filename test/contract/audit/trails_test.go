package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/test/contract/harness"
)

// later is the machine's clock, which a test can put forward: digests are of hours. It
// signs requests at its time.
type later struct{ by atomic.Int64 }

// Now is the shifted time.
func (l *later) Now() time.Time { return time.Now().Add(time.Duration(l.by.Load())) }

// SignHTTP signs at the shifted time.
func (l *later) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, c, r, hash, service, region, l.Now(), o...)
}

// files are those of a trail: a directory, or a bucket.
type files interface {
	read(t *testing.T, key string) []byte
	write(t *testing.T, key string, content []byte)
	remove(t *testing.T, key string)
	keys(t *testing.T) []string
}

type directory string

func (d directory) path(key string) string { return filepath.Join(string(d), filepath.FromSlash(key)) }

func (d directory) read(t *testing.T, key string) []byte {
	t.Helper()
	b, err := os.ReadFile(d.path(key))
	must(t, key, err)
	return b
}

func (d directory) write(t *testing.T, key string, content []byte) {
	t.Helper()
	must(t, key, os.WriteFile(d.path(key), content, 0o600))
}

func (d directory) remove(t *testing.T, key string) {
	t.Helper()
	must(t, key, os.Remove(d.path(key)))
}

func (d directory) keys(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(string(d), func(path string, e fs.DirEntry, err error) error {
		// A file that is being written has another name first.
		if err == nil && e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".berth-") {
			key, _ := filepath.Rel(string(d), path) // path is below it
			all = append(all, filepath.ToSlash(key))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that was being written
		}
		return err
	})
	must(t, string(d), err)
	return all
}

type bucket struct {
	*s3.Client
	name string
}

func (b bucket) read(t *testing.T, key string) []byte {
	t.Helper()
	out, err := b.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	must(t, key, err)
	content, err := io.ReadAll(out.Body)
	must(t, key, errors.Join(err, out.Body.Close()))
	return content
}

func (b bucket) write(t *testing.T, key string, content []byte) {
	t.Helper()
	_, err := b.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: bytes.NewReader(content)})
	must(t, key, err)
}

func (b bucket) remove(t *testing.T, key string) {
	t.Helper()
	_, err := b.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
	must(t, key, err)
}

func (b bucket) keys(t *testing.T) (all []string) {
	t.Helper()
	pages := s3.NewListObjectsV2Paginator(b.Client, &s3.ListObjectsV2Input{Bucket: &b.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, b.name, err)
		for _, o := range page.Contents {
			all = append(all, *o.Key)
		}
	}
	return all
}

func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	must(t, "gzip", err)
	content, err := io.ReadAll(z)
	must(t, "gzip", err)
	return content
}

func pack(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(content)
	must(t, "gzip", errors.Join(err, z.Close()))
	return out.Bytes()
}

var (
	logKey = regexp.MustCompile(`^(?:audit/x/)?AWSLogs/` + account + `/CloudTrail/(us-east-1|eu-west-1)/(\d{4})/(\d\d)/(\d\d)/` + account +
		`_CloudTrail_(us-east-1|eu-west-1)_(\d{4})(\d\d)(\d\d)T\d{4}Z_[A-Za-z0-9]{16}\.json\.gz$`)
	digestKey = regexp.MustCompile(`^(?:audit/x/)?AWSLogs/` + account + `/CloudTrail-Digest/(us-east-1|eu-west-1)/\d{4}/\d\d/\d\d/` + account +
		`_CloudTrail-Digest_(us-east-1|eu-west-1)_[a-z]+_eu-west-1_\d{8}T\d{6}Z\.json\.gz$`)
)

// logs are the log files, digests the digests; anything else but signatures is wrong.
func sorted(t *testing.T, f files) (logs, digests []string) {
	t.Helper()
	for _, key := range f.keys(t) {
		switch plain := strings.TrimSuffix(key, ".sig"); {
		case plain == key && logKey.MatchString(key):
			if m := logKey.FindStringSubmatch(key); m[1] != m[5] || m[2]+m[3]+m[4] != m[6]+m[7]+m[8] {
				t.Errorf("%s does not agree with itself", key)
			}
			logs = append(logs, key)
		case digestKey.MatchString(plain):
			if plain == key {
				digests = append(digests, key)
			}
		default:
			t.Errorf("%s is not in CloudTrail's layout", key)
		}
	}
	return logs, digests
}

// delivered are the records of all log files, by their ids.
func delivered(t *testing.T, f files) map[string]record {
	t.Helper()
	found := map[string]record{}
	logs, _ := sorted(t, f)
	for _, key := range logs {
		for _, raw := range decode[struct{ Records []json.RawMessage }](t, string(unpack(t, f.read(t, key)))).Records {
			r := decode[record](t, string(raw))
			r.whole = string(raw)
			if _, twice := found[r.EventID]; twice || r.EventID == "" {
				t.Errorf("the record %q is there twice", r.EventID)
			}
			if !strings.Contains(key, "_CloudTrail_"+r.AwsRegion+"_") {
				t.Errorf("%s has a record of %s", key, r.AwsRegion)
			}
			found[r.EventID] = r
		}
	}
	return found
}

// vault is a deployment in the test's process, for its clock's sake, with a directory and a
// bucket for trails.
type vault struct {
	clock  *later
	data   string
	url    string
	binary string
	person person
	trails *cloudtrail.Client
	of     map[string]files // by the bucket's name
}

func newVault(t *testing.T) *vault {
	t.Helper()
	store := s3test.Start(t)
	// The program finds the keys of the bucket where all programs do.
	t.Setenv("AWS_ACCESS_KEY_ID", store.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", store.SecretKey)
	v := &vault{clock: &later{}, binary: harness.Binary(t), person: person{name: "root", id: apptest.AccessKeyID, secret: apptest.SecretAccessKey}}
	name, dir := store.Bucket(t), t.TempDir()
	v.of = map[string]files{"directory": directory(dir), "bucket": bucket{store.Client(), name}}
	cfg := config.Default()
	cfg.Data, cfg.Listen, cfg.PublicListen, cfg.Region = t.TempDir(), harness.FreeAddress(t), "off", region
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = apptest.AccessKeyID, apptest.SecretAccessKey
	cfg.Audit.Delivery = config.Duration(time.Second)
	cfg.Audit.Buckets = map[string]config.TrailBucket{
		"directory": {URL: dir},
		"bucket":    {URL: "s3://" + name, S3: config.S3{Endpoint: store.Endpoint, Region: store.Region, PathStyle: true, Timeout: config.Duration(time.Minute), Checksums: "required"}},
	}
	must(t, "the configuration", cfg.Validate())
	a, err := app.New(t.Context(), cfg, app.Options{Clock: v.clock, Version: "test"})
	must(t, "the program", err)
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	v.data, v.url = cfg.Data, "http://"+cfg.Listen
	v.trails = cloudtrail.New(cloudtrail.Options{
		BaseEndpoint: &v.url, Region: region, HTTPSignerV4: v.clock, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: v.person.id, SecretAccessKey: v.person.secret}, nil
		}),
	})
	return v
}

// status is what the trail tells of itself.
func (v *vault) status(t *testing.T, trail string) *cloudtrail.GetTrailStatusOutput {
	t.Helper()
	out, err := v.trails.GetTrailStatus(t.Context(), &cloudtrail.GetTrailStatusInput{Name: &trail})
	must(t, "GetTrailStatus", err)
	return out
}

// TestTrails makes two trails with the AWS CLI, reads what they write, and lets berth audit
// verify look for what is altered in it afterwards.
func TestTrails(t *testing.T) {
	v := newVault(t)
	b := newShell(t, v.url, region).as(v.person)
	b.awsRefused("(S3BucketDoesNotExistException)", "cloudtrail", "create-trail", "--name", "all", "--s3-bucket-name", "elsewhere")
	trailOf := map[string]string{"directory": "files", "bucket": "objects"}
	for kind, trail := range trailOf {
		made := decode[struct{ Name, S3BucketName, S3KeyPrefix, TrailARN string }](t, b.aws("cloudtrail", "create-trail", "--name", trail,
			"--s3-bucket-name", kind, "--s3-key-prefix", "audit/x", "--is-multi-region-trail", "--enable-log-file-validation"))
		if made.Name != trail || made.S3BucketName != kind || made.S3KeyPrefix != "audit/x" || made.TrailARN != "arn:aws:cloudtrail:"+region+":"+account+":trail/"+trail {
			t.Errorf("create-trail: %+v", made)
		}
		b.aws("cloudtrail", "start-logging", "--name", trail)
	}
	described := b.aws("cloudtrail", "describe-trails")
	for _, trail := range trailOf {
		if !strings.Contains(described, `"Name": "`+trail+`"`) || strings.Count(described, `"LogFileValidationEnabled": true`) != 2 || strings.Count(described, `"IsMultiRegionTrail": true`) != 2 {
			t.Errorf("describe-trails: %s", described)
		}
	}
	for i := range 3 {
		repo := fmt.Sprintf("shop-%d", i)
		_, err := apptest.Client(v.url, region).CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo})
		must(t, repo, err)
	}
	b.aws("ecr-public", "create-repository", "--repository-name", "open", "--region", "us-east-1")
	for kind, f := range v.of {
		wait(t, "the files in the "+kind, func() bool {
			n := 0
			for _, r := range delivered(t, f) {
				if r.EventName == "CreateRepository" && (r.EventSource == "ecr.amazonaws.com") == (r.AwsRegion == region) {
					n++
				}
			}
			return n == 4
		})
		out := b.aws("cloudtrail", "get-trail-status", "--name", trailOf[kind])
		if s := decode[map[string]any](t, out); s["IsLogging"] != true || s["LatestDeliveryTime"] == nil || s["StartLoggingTime"] == nil || s["LatestDeliveryError"] != nil && s["LatestDeliveryError"] != "" {
			t.Errorf("get-trail-status: %s", out)
		}
	}
	// The hour ends, in which the digests are due.
	v.clock.by.Store(int64(time.Hour + time.Minute))
	for kind, trail := range trailOf {
		wait(t, "the digests in the "+kind, func() bool {
			_, digests := sorted(t, v.of[kind])
			return len(digests) == 2 && v.status(t, trail).LatestDigestDeliveryTime != nil
		})
	}
	keys, status := berth(t, v.binary, "audit", "keys", "--data", v.data)
	if status != 0 || !strings.Contains(keys, "-----BEGIN ") {
		t.Fatalf("berth audit keys: %d %s", status, keys)
	}
	pem := filepath.Join(t.TempDir(), "keys.pem")
	must(t, pem, os.WriteFile(pem, []byte(keys), 0o600))
	for _, kind := range []string{"directory", "bucket"} {
		t.Run(kind, func(t *testing.T) { v.tamper(t, kind, pem) })
	}

	// Back to today, for the AWS CLI.
	v.clock.by.Store(0)
	b.aws("cloudtrail", "stop-logging", "--name", "files")
	if s := decode[map[string]any](t, b.aws("cloudtrail", "get-trail-status", "--name", "files")); s["IsLogging"] != false || s["StopLoggingTime"] == nil || s["LatestDigestDeliveryTime"] == nil {
		t.Errorf("after stop-logging: %v", s)
	}
	b.aws("cloudtrail", "delete-trail", "--name", "files")
	b.awsRefused("(TrailNotFoundException)", "cloudtrail", "get-trail", "--name", "files")
	if logs, digests := sorted(t, v.of["directory"]); len(logs) == 0 || len(digests) == 0 {
		t.Error("the files went with their trail")
	}
}

// tamper does to the files what berth audit verify is there to find.
func (v *vault) tamper(t *testing.T, kind, pem string) {
	f := v.of[kind]
	verify := func(args ...string) (string, int) {
		t.Helper()
		return berth(t, v.binary, append([]string{"audit", "verify", "--data", v.data}, args...)...)
	}
	known := []string{"--bucket", kind}
	var alone []string
	if d, ok := f.(directory); ok {
		alone = []string{"--directory", string(d), "--key", pem}
	}
	if out, status := verify(known...); status != 0 || strings.Contains(out, "Problems") || !strings.Contains(out, "2 of 2 digests valid") {
		t.Fatalf("nothing is altered, and verify ends with %d: %s", status, out)
	}
	if alone != nil {
		if out, status := verify(alone...); status != 0 || !strings.Contains(out, "0 compared") {
			t.Fatalf("the files alone: %d %s", status, out)
		}
	}
	// The record that matters: who made shop-1.
	var key, content string
	var victim record
	logs, digests := sorted(t, f)
	for _, k := range logs {
		text := string(unpack(t, f.read(t, k)))
		for _, raw := range decode[struct{ Records []json.RawMessage }](t, text).Records {
			if r := decode[record](t, string(raw)); r.RequestParameters.RepositoryName == "shop-1" {
				r.whole = string(raw)
				key, content, victim = k, text, r
			}
		}
	}
	if key == "" {
		t.Fatal("no file says who made shop-1")
	}
	whole := f.read(t, key)
	digest := digests[slices.IndexFunc(digests, func(d string) bool {
		return strings.Contains(d, "_"+region+"_"+map[string]string{"directory": "files", "bucket": "objects"}[kind])
	})]
	cut := strings.Replace(strings.Replace(content, victim.whole+",", "", 1), ","+victim.whole, "", 1)
	if cut == content {
		cut = strings.Replace(content, victim.whole, "", 1)
	}
	for _, c := range []struct {
		name string
		do   func()
		undo string // the key that is written again
		// with is what is found with the database, without what is by the files alone.
		with, without []string
	}{
		{"a record is altered", func() { f.write(t, key, pack(t, []byte(strings.Replace(content, `"shop-1"`, `"shop-x"`, 1)))) }, key,
			[]string{"log file altered: " + key, "record altered: " + key + ", " + victim.EventID + " CreateRepository"}, []string{"log file altered: " + key}},
		{"a record is removed", func() { f.write(t, key, pack(t, []byte(cut))) }, key,
			[]string{"log file altered: " + key, "record removed: " + key + ", " + victim.EventID + " CreateRepository"}, []string{"log file altered: " + key}},
		{"a file is removed", func() { f.remove(t, key) }, key, []string{"log file missing: " + key}, []string{"log file missing: " + key}},
		{"a digest is removed", func() { f.remove(t, digest) }, digest, []string{"digest missing: " + digest}, nil}, // the newest one: a chain alone cannot tell
	} {
		t.Run(c.name, func(t *testing.T) {
			before := whole
			if c.undo != key {
				before = f.read(t, c.undo)
			}
			c.do()
			out, status := verify(known...)
			if status != 1 {
				t.Errorf("status %d", status)
			}
			for _, want := range c.with {
				if !strings.Contains(out, want) {
					t.Errorf("verify does not say %q: %s", want, out)
				}
			}
			if alone != nil {
				out, status := verify(alone...)
				if status != min(1, len(c.without)) {
					t.Errorf("by the files alone: status %d: %s", status, out)
				}
				for _, want := range c.without {
					if !strings.Contains(out, want) {
						t.Errorf("by the files alone verify does not say %q: %s", want, out)
					}
				}
			}
			f.write(t, c.undo, before)
			if _, ok := f.(bucket); ok && c.undo == digest {
				return // its signature stands in the sidecar now, and no longer in its metadata
			}
			if out, status := verify(known...); status != 0 {
				t.Errorf("it is as it was, and verify ends with %d: %s", status, out)
			}
		})
	}
	for text, args := range map[string][]string{
		"say what to check":      nil,
		"elsewhere":              {"--bucket", "elsewhere"},
		"--key is for":           {"--bucket", kind, "--key", pem},
		"--from":                 {"--bucket", kind, "--from", "yesterday"},
		"no such file":           {"--directory", filepath.Join(t.TempDir(), "none"), "--key", pem},
		"no such file or direct": {"--directory", t.TempDir(), "--key", filepath.Join(t.TempDir(), "none")},
	} {
		if out, status := verify(args...); status != 1 || !strings.Contains(out, text) {
			t.Errorf("berth audit verify %q: status %d, %s", args, status, out)
		}
	}
}
