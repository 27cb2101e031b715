package scanning

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// pull asks for a manifest, and returns the status and the body.
func (w *world) pull(t *testing.T, method, repo, image string) (int, string) {
	t.Helper()
	a := must(w.root.Do(t.Context(), harness.Request{Method: method, Path: "/v2/" + repo + "/manifests/" + image, Accept: harness.EveryManifest()}))(t)
	return a.Status, string(a.Body)
}

// passes wants an image to be handed out.
func (w *world) passes(t *testing.T, what, repo, image string) {
	t.Helper()
	if status, body := w.pull(t, http.MethodGet, repo, image); status != http.StatusOK {
		t.Errorf("%s: %s:%s: %d %s", what, repo, image, status, body)
	}
}

// held wants an image to be held back with a text, by the registry API and by
// BatchGetImage.
func (w *world) held(t *testing.T, what, repo, image, text string) {
	t.Helper()
	if status, body := w.pull(t, http.MethodGet, repo, image); status != http.StatusForbidden || !strings.Contains(body, `"DENIED"`) || !strings.Contains(body, text) {
		t.Errorf("%s: %s:%s: %d %s, want DENIED with %q", what, repo, image, status, body, text)
	}
	out := must(w.ECR().BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{*ref(image)}}))(t)
	if len(out.Images) != 0 || len(out.Failures) != 1 || out.Failures[0].FailureCode != types.ImageFailureCodeImageInaccessible || !strings.Contains(aws.ToString(out.Failures[0].FailureReason), text) {
		t.Errorf("%s: BatchGetImage: %d images, %+v", what, len(out.Images), out.Failures)
	}
}

// TestGate: pulls of images with findings, and of images that were not scanned, are
// held back where a rule says so.
func TestGate(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.take(t, database(t, 1, advisories(
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Fixed: "3.0.2-1", Severity: "HIGH"},
		matchtest.Advisory{Pkg: "zlib", ID: "CVE-2026-0002", Severity: "LOW"},
	)))
	w.onPush(t, "prod/app", "other/app")
	w.CreateRepository(t, "quarantine/app")
	gate := func(args ...string) string {
		t.Helper()
		return w.berth(t, append([]string{"scan", "gate"}, args...)...)
	}
	gate("set", "prod", "--repositories", "prod/*", "--severity", "HIGH")
	bad, good := debian(t, "openssl 3.0.1-1", "zlib 1.3-1"), debian(t, "openssl 3.0.2-1", "zlib 1.3-1")
	worse := w.push(t, "prod/app", "bad", linux, bad)
	better := w.push(t, "prod/app", "good", platform{"linux", "arm64"}, good)
	w.push(t, "other/app", "bad", linux, bad)
	w.index(t, "prod/app", "both", worse, better)
	w.chart(t, "prod/app", "chart")
	for _, image := range [][2]string{{"prod/app", "bad"}, {"prod/app", "good"}, {"other/app", "bad"}} {
		w.complete(t, image[0], image[1])
	}

	t.Log("by severity")
	text := "The rule 'prod' of the pull gate holds back the image " + worse.Digest + " of the repository prod/app: 1 finding (1 HIGH), the worst: CVE-2026-0001."
	wait(t, "the scan to count", func() bool {
		status, _ := w.pull(t, http.MethodGet, "prod/app", "bad")
		return status == http.StatusForbidden
	})
	w.held(t, "by tag", "prod/app", "bad", text)
	w.held(t, "by digest", "prod/app", worse.Digest, text)
	w.passes(t, "findings that are less bad", "prod/app", "good")
	w.passes(t, "another repository", "other/app", "bad")
	w.passes(t, "an index", "prod/app", "both")
	w.passes(t, "an artifact", "prod/app", "chart")
	if status, _ := w.pull(t, http.MethodHead, "prod/app", "bad"); status != http.StatusOK {
		t.Errorf("HEAD: %d", status)
	}

	t.Log("docker")
	b := harness.NewBox(t, "docker", "dockerd")
	harness.StartDocker(t, b)
	b.Feed(w.Password(t), "docker", "login", "--username", "AWS", "--password-stdin", w.Host)
	b.Refused(text, "docker", "pull", w.Host+"/prod/app:bad")
	b.Refused(text, "docker", "pull", "--platform", "linux/amd64", w.Host+"/prod/app:both")
	out := b.Run("docker", "pull", "--platform", "linux/arm64", w.Host+"/prod/app:both")
	if !strings.Contains(out, "Status: Downloaded newer image") {
		t.Errorf("docker pull said %s", out)
	}

	t.Log("an exception")
	said := gate("except", "add", "CVE-2026-0001", "--repository", "prod/*", "--package", "openssl", "--until", "30d", "--reason", "the function is not reached")
	number := regexp.MustCompile(`^The gate does not count CVE-2026-0001 until \d{4}-\d\d-\d\d \d\d:\d\d UTC, in prod/\*, package openssl\. The exception has the number (\d+)\.\n$`).FindStringSubmatch(said)
	if number == nil {
		t.Fatalf("berth scan gate except add printed %s", said)
	}
	w.passes(t, "with an exception", "prod/app", "bad")
	b.Run("docker", "pull", w.Host+"/prod/app:bad")
	if said = gate("except", "list"); !strings.Contains(said, "the function is not reached") || !strings.Contains(said, "in prod/*, package openssl") {
		t.Errorf("berth scan gate except list printed %s", said)
	}
	w.refused(t, "a year", "scan", "gate", "except", "add", "CVE-2026-0001", "--until", "500d", "--reason", "for ever")
	gate("except", "remove", number[1])
	w.held(t, "without it", "prod/app", "bad", text)

	t.Log("only what can be mended, and who is exempt")
	gate("set", "prod", "--repositories", "prod/*", "--severity", "LOW", "--fixable")
	w.held(t, "with a fix", "prod/app", "bad", "1 finding (1 HIGH)")
	w.passes(t, "without a fix", "prod/app", "good")
	gate("set", "prod", "--repositories", "prod/*", "--severity", "LOW")
	w.held(t, "with and without", "prod/app", "bad", "2 findings (1 HIGH, 1 LOW), the worst: CVE-2026-0001, CVE-2026-0002.")
	w.held(t, "without a fix", "prod/app", "good", "1 finding (1 LOW)")
	gate("set", "prod", "--repositories", "prod/*", "--severity", "LOW", "--exempt", "arn:aws:iam::*:root")
	w.passes(t, "an exempt caller", "prod/app", "bad")

	t.Log("images that were not scanned")
	gate("set", "quarantine", "--repositories", "quarantine/*", "--unscanned", "block")
	one := w.push(t, "quarantine/app", "v1", linux, good)
	w.held(t, "not scanned", "quarantine/app", "v1", "The rule 'quarantine' of the pull gate holds back the image "+one.Digest+" of the repository quarantine/app: no scan of it has been completed.")
	b.Refused("no scan of it has been completed", "docker", "pull", w.Host+"/quarantine/app:v1")
	must(w.ECR().StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: aws.String("quarantine/app"), ImageId: ref("v1")}))(t)
	w.complete(t, "quarantine/app", "v1")
	wait(t, "the image to pass", func() bool {
		status, _ := w.pull(t, http.MethodGet, "quarantine/app", "v1")
		return status == http.StatusOK
	})

	t.Log("without rules")
	gate("delete", "prod")
	gate("delete", "quarantine")
	w.passes(t, "without rules", "prod/app", "bad")
	if said = gate("list"); !strings.Contains(said, "There are no rules: every image can be pulled.") {
		t.Errorf("berth scan gate list printed %s", said)
	}
}

// TestTags: of a repository that is scanned on push, only pushes of certain tags are.
func TestTags(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.take(t, database(t, 1, perl(t)...))
	w.onPush(t, "team/app", "other/app")
	w.berth(t, "scan", "tags", "set", "team/*", "v*", "latest")
	if said := w.berth(t, "scan", "tags", "list"); !strings.Contains(said, "team/*") || !strings.Contains(said, "v*, latest") && !strings.Contains(said, "latest, v*") {
		t.Errorf("berth scan tags list printed %s", said)
	}
	unscanned := func(what, image string) {
		t.Helper()
		_, err := w.describe(t, "team/app", image)
		fails(t, what, err, "ScanNotFoundException", "")
	}
	layer := perlLayer(t)
	w.push(t, "team/app", "dev", linux, layer)
	unscanned("another tag", "dev")
	by := w.push(t, "team/app", "", linux, layer)
	unscanned("by digest", by.Digest)
	for _, tag := range []string{"v1", "latest"} {
		w.push(t, "team/app", tag, linux, layer)
		same(t, tag, w.complete(t, "team/app", tag), perlLines())
	}
	w.push(t, "other/app", "dev", linux, layer)
	same(t, "another repository", w.complete(t, "other/app", "dev"), perlLines())
	raw, _, err := w.root.Manifest(t.Context(), "team/app", "dev")
	w.root.PushManifest(t, "team/app", "v2", harness.OCIImage, must(raw, err)(t))
	same(t, "a tag that is added", w.complete(t, "team/app", "dev"), perlLines())
	w.berth(t, "scan", "tags", "delete", "team/*")
	w.push(t, "team/app", "feature", linux, layer)
	same(t, "without the rule", w.complete(t, "team/app", "feature"), perlLines())
}

// component is one of a list of packages, in either form.
type component struct{ Name, Version, VersionInfo, Purl string }

// TestSBOM: the list of an image's packages from the command, and attached to images
// that were scanned.
func TestSBOM(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{Config: "scanning: {sbom: [cyclonedx, spdx]}\n"})
	w.take(t, database(t, 1, perl(t)...))
	w.onPush(t, "app")
	w.CreateRepository(t, "unscanned")
	for _, repo := range []string{"app", "unscanned"} {
		w.push(t, repo, "v1", linux, perlLayer(t))
	}
	b := harness.NewBox(t, "oras")

	t.Log("berth sbom")
	var lists [][]component
	check := func(what, text string) {
		t.Helper()
		doc := decode[struct {
			BOMFormat, SpecVersion, SPDXVersion string
			Components, Packages                []component
		}](t, text)
		all := append(doc.Components, doc.Packages...)
		lists = append(lists, all)
		found := false
		for _, c := range all {
			found = found || c.Name == "perl-base" && c.Version+c.VersionInfo == "5.36.0-7+deb12u3"
		}
		if cyclone, spdx := doc.BOMFormat == "CycloneDX" && doc.SpecVersion == "1.6", doc.SPDXVersion == "SPDX-2.3"; !found || cyclone == spdx || len(all) < 50 {
			t.Errorf("%s: CycloneDX %t, SPDX %t, %d packages, perl-base %t", what, cyclone, spdx, len(all), found)
		}
	}
	check("CycloneDX", w.berth(t, "sbom", "app:v1"))
	spdx := b.Path("app.spdx.json")
	if said := w.berth(t, "sbom", "app:v1", "--format", "spdx", "-o", spdx); !strings.Contains(said, "application/spdx+json") {
		t.Errorf("berth sbom printed %s", said)
	}
	check("SPDX", string(b.Read("app.spdx.json")))
	check("of an image that was not scanned", w.berth(t, "sbom", "unscanned:v1"))
	w.refused(t, "missing", "sbom", "app:missing")

	t.Log("attached")
	w.complete(t, "app", "v1")
	b.Feed(w.Password(t), "oras", "login", "--plain-http", "--username", "AWS", "--password-stdin", w.Host)
	type found struct {
		Digest, ArtifactType string
		Referrers            []struct{ Digest, ArtifactType string }
	}
	var tree found
	wait(t, "both lists", func() bool {
		tree = decode[found](t, b.Run("oras", "discover", "--plain-http", "--format", "json", w.Host+"/app:v1"))
		return len(tree.Referrers) == 2
	})
	kinds := map[string]bool{}
	for _, r := range tree.Referrers {
		kinds[r.ArtifactType] = true
		raw, _, err := w.root.Manifest(t.Context(), "app", r.Digest)
		m := decode[harness.Manifest](t, string(must(raw, err)(t)))
		check(r.ArtifactType, string(must(w.root.Blob(t.Context(), "app", m.Layers[0].Digest))(t)))
		_, err = w.describe(t, "app", r.Digest)
		fails(t, "a scan of the list", err, "ScanNotFoundException", "")
	}
	if !kinds["application/vnd.cyclonedx+json"] || !kinds["application/spdx+json"] {
		t.Errorf("attached are %v", kinds)
	}
	if tree := decode[found](t, b.Run("oras", "discover", "--plain-http", "--format", "json", w.Host+"/unscanned:v1")); len(tree.Referrers) != 0 {
		t.Errorf("to an image that was not scanned is attached %+v", tree.Referrers)
	}
	if len(lists) != 5 {
		t.Errorf("%d lists", len(lists))
	}
	w.MustFsck(t)
}
