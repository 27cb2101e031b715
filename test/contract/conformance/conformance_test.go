package conformance

import (
	"encoding/base64"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

	"github.com/berth-registry/berth/test/contract/harness"
)

// registry is what the suites are pointed at.
type registry struct {
	kind         string
	host         string
	first, other string // two of its repositories
	password     string
}

// TestConformance runs each suite against each kind of registry. Nothing may fail, and
// nothing may be left out but what is named here.
func TestConformance(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, r := range []registry{private(t, s), public(t, s)} {
		t.Run(r.kind, func(t *testing.T) {
			t.Run("suite of 2025", func(t *testing.T) { current(t, r) })
			t.Run("suite of 2023", func(t *testing.T) { former(t, r) })
		})
	}
}

func private(t *testing.T, s *harness.Server) registry {
	t.Helper()
	r := registry{kind: "private", host: s.Host, first: "conformance/first", other: "conformance/other", password: s.Password(t)}
	s.CreateRepository(t, r.first, r.other)
	return r
}

func public(t *testing.T, s *harness.Server) registry {
	t.Helper()
	config := s.Config()
	config.Region = "us-east-1"
	api := ecrpublic.NewFromConfig(config)
	r := registry{kind: "public", host: s.PublicHost}
	for _, repo := range []string{"conformance/first", "conformance/other"} {
		out, err := api.CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: aws.String(repo)})
		if err != nil {
			t.Fatal(err)
		}
		named, ok := strings.CutPrefix(aws.ToString(out.Repository.RepositoryUri), s.PublicHost+"/")
		if !ok {
			t.Fatalf("the repository's URI is %s, and the registry is %s", aws.ToString(out.Repository.RepositoryUri), s.PublicHost)
		}
		r.first, r.other = r.other, named
	}
	token, err := api.GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := base64.StdEncoding.DecodeString(aws.ToString(token.AuthorizationData.AuthorizationToken))
	if err != nil {
		t.Fatal(err)
	}
	_, r.password, _ = strings.Cut(string(plain), ":")
	return r
}

// current is the suite as it is now, for version 1.1 of the specification, with what it
// holds for optional and Berth has.
func current(t *testing.T, r registry) {
	b := harness.NewBox(t, "conformance").With(
		"OCI_REGISTRY="+r.host, "OCI_TLS=disabled", "OCI_REPO1="+r.first, "OCI_REPO2="+r.other, "OCI_USERNAME=AWS", "OCI_PASSWORD="+r.password,
		"OCI_VERSION=1.1", "OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
		"OCI_API_MANIFESTS_TAG_PARAM=true",
	)
	b.With("OCI_RESULTS_DIR=" + b.Path("results"))
	stdout, stderr, err := b.Try("", "conformance")
	judge(t, b.Read("results", "junit.xml"), 300)
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
}

// former is the suite that registries were measured with before.
func former(t *testing.T, r registry) {
	b := harness.NewBox(t, "oci-conformance-2023").With(
		"OCI_ROOT_URL=http://"+r.host, "OCI_NAMESPACE="+r.first, "OCI_CROSSMOUNT_NAMESPACE="+r.other, "OCI_USERNAME=AWS", "OCI_PASSWORD="+r.password,
		"OCI_TEST_PULL=1", "OCI_TEST_PUSH=1", "OCI_TEST_CONTENT_DISCOVERY=1", "OCI_TEST_CONTENT_MANAGEMENT=1",
	)
	b.With("OCI_REPORT_DIR=" + b.Path())
	stdout, stderr, err := b.Try("", "oci-conformance-2023")
	judge(t, b.Read("junit.xml"), 70,
		// Are for registries that the suite does not push to.
		"Get tag name from environment", "Populate registry with test tags (no push)",
		// ECR mounts layers of images, and the suite's is of none: it is uploaded instead,
		// which the suite takes, and leaves out what else it has to say of mounted layers.
		"GET request to test digest within cross-mount namespace should return 200",
		"Cross-mounting without from, and automatic content discovery enabled should return a 201",
		"Cross-mounting without from, and automatic content discovery disabled should return a 202",
	)
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
}

// report is a file of test results in the form of JUnit.
type report struct {
	Suites []struct {
		Cases []struct {
			Name    string `xml:"name,attr"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failure *struct {
				Text string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct {
				Text string `xml:",chardata"`
			} `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// judge fails for every case that has failed, for one that was left out without its name
// ending as one of those that may be, and where there are too few for the suite to have run.
func judge(t *testing.T, text []byte, least int, leftOut ...string) {
	t.Helper()
	var r report
	if err := xml.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	passed, failed, skipped := 0, 0, 0
	for _, s := range r.Suites {
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				failed++
				t.Errorf("failed: %s\n%.2000s", c.Name, c.Failure.Text)
			case c.Error != nil:
				failed++
				t.Errorf("failed: %s\n%.2000s", c.Name, c.Error.Text)
			case c.Skipped != nil && slices.ContainsFunc(leftOut, func(end string) bool { return strings.HasSuffix(c.Name, end) }):
				skipped++
			case c.Skipped != nil:
				skipped++
				t.Errorf("left out: %s (%s)", c.Name, c.Skipped.Message)
			default:
				passed++
			}
		}
	}
	t.Logf("%d passed, %d failed, %d left out", passed, failed, skipped)
	if passed < least {
		t.Errorf("only %d cases have passed", passed)
	}
}
