package scanning

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// The media types of the artifact as it is published.
const (
	databaseConfig = "application/vnd.aquasec.trivy.config.v1+json"
	databaseLayer  = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
)

// artifact is the manifest of the artifact that an archive is published in; its config
// is "{}".
func artifact(t *testing.T, archive []byte) []byte {
	t.Helper()
	return harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: databaseConfig, Digest: harness.Digest([]byte("{}")), Size: 2},
		Layers: []harness.Descriptor{{
			MediaType: databaseLayer, Digest: harness.Digest(archive), Size: int64(len(archive)), Annotations: map[string]string{"org.opencontainers.image.title": "db.tar.gz"},
		}},
	}.Bytes(t)
}

// publish puts the artifact into a registry, under the tag 2.
func publish(t *testing.T, r *harness.Registry, repo string, archive []byte) {
	t.Helper()
	for _, b := range [][]byte{archive, []byte("{}")} {
		must(r.PutBlob(t.Context(), repo, b))(t)
	}
	r.PushManifest(t, repo, "2", harness.OCIImage, artifact(t, archive))
}

// layout is the artifact as an OCI layout, in a tar archive.
func layout(t *testing.T, archive []byte) []byte {
	t.Helper()
	return layoutOf(t, artifact(t, archive), archive)
}

func layoutOf(t *testing.T, manifest, archive []byte) []byte {
	t.Helper()
	index := harness.Manifest{SchemaVersion: 2, Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: harness.Digest(manifest), Size: int64(len(manifest))}}}.Bytes(t)
	files := []string{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`, "index.json", string(index)}
	for _, b := range [][]byte{[]byte("{}"), manifest, archive} {
		files = append(files, "blobs/sha256/"+strings.TrimPrefix(harness.Digest(b), "sha256:"), string(b))
	}
	return plain(t, files...).content
}

// standing is what berth vulndb status --json prints.
type standing struct {
	Current, Former *struct {
		Digest, Source string
		Schema         int
		Updated        time.Time
		Size           int64
	}
	AgeSeconds              int64
	Stale, Unpacked         bool
	Sources                 []string
	AskedSource, AskedError string
	Advice                  string
}

func (w *world) standing(t *testing.T) standing {
	t.Helper()
	return decode[standing](t, w.berth(t, "vulndb", "status", "--json"))
}

// uses waits until this node has unpacked the database of an archive.
func (w *world) uses(t *testing.T, archive []byte) {
	t.Helper()
	wait(t, "the database to be in use", func() bool {
		s := w.standing(t)
		return s.Current != nil && s.Current.Digest == harness.Digest(archive) && s.Unpacked
	})
}

// metric reads a metric; ok is false where it is not there.
func metric(t *testing.T, admin, series string) (value float64, ok bool) {
	t.Helper()
	answer := must(http.Get("http://" + admin + "/metrics"))(t)
	defer func() { _ = answer.Body.Close() }() // it is read below
	text := must(io.ReadAll(answer.Body))(t)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0, false
	}
	return must(strconv.ParseFloat(string(m[1]), 64))(t), true
}

// flipped is b with one bit changed.
func flipped(b []byte, at int) []byte {
	out := slices.Clone(b)
	out[at] ^= 4
	return out
}

// refusal is a file that is no usable database, and what is said of it.
type refusal struct {
	what, text string
	content    []byte
}

// TestDatabase: what is no whole database of the right schema and age is refused and
// changes nothing; what is one is in use, until another one is.
func TestDatabase(t *testing.T) {
	t.Parallel()
	admin := harness.FreeAddress(t)
	w := start(t, harness.Options{Config: "admin_listen: " + admin + "\n"})
	good := database(t, 5, perl(t)...)
	packed := layout(t, good)
	noise := t.TempDir()
	if err := matchtest.Write(noise, matchtest.DB{Buckets: perl(t)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(noise, "trivy.db"), harness.Random(1, 200_000), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := t.TempDir()
	if err := matchtest.Write(torn, matchtest.DB{Buckets: perl(t)}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(torn, "trivy.db"), 20_000); err != nil {
		t.Fatal(err)
	}
	broken := []refusal{
		{"nothing", "the file is empty", nil},
		{"something else", "the file is neither a gzip nor a tar archive", harness.Random(2, 5000)},
		{"cut off", "the archive ends early, it has not come whole; fetch it again", good[:len(good)/2]},
		{"cut off at the end", "the archive ends early", good[:len(good)-4]},
		{"a changed bit", "the archive is damaged", flipped(good, len(good)-6)},
		{"a layout that is cut off", "the OCI layout ends early", packed[:len(packed)*2/3]},
		{"a layout with a changed bit", "the layer has the digest ", flipped(packed, bytes.Index(packed, good)+4)},
		{"another archive", `the archive has a "etc/passwd", which does not belong there`, plain(t, "etc/passwd", "root").gzip(t).content},
		{"another artifact", "the artifact is no vulnerability database", layoutOf(t, bytes.Replace(artifact(t, good), []byte("trivy.db.layer"), []byte("trivy.javadb.layer"), 1), good)},
		{"an older schema", "the database has the schema version 1, and this program understands 2: fetch the artifact with the tag 2", archived(t, matchtest.DB{Schema: 1, Buckets: perl(t)})},
		{"a newer schema", "the database has the schema version 3, and", archived(t, matchtest.DB{Schema: 3, Buckets: perl(t)})},
		{"from the future", "which is in the future: set this machine's clock right", archived(t, matchtest.DB{UpdatedAt: time.Now().Add(49 * time.Hour), Buckets: perl(t)})},
		{"no advisories", "the database was looked through and cannot be used", archived(t, matchtest.DB{})},
		{"noise in place of a database", "the database was looked through and cannot be used", must(matchtest.Archive(noise))(t)},
		{"a database that is cut off", "the database was looked through and cannot be used", must(matchtest.Archive(torn))(t)},
	}
	refuses := func(state string, all []refusal) {
		t.Helper()
		before := w.berth(t, "vulndb", "status", "--json")
		for _, b := range all {
			t.Log(state + ": " + b.what)
			w.refused(t, b.text, "vulndb", "import", file(t, b.content))
		}
		after := w.berth(t, "vulndb", "status", "--json")
		age := regexp.MustCompile(`"ageSeconds": \d+`)
		if a, b := age.ReplaceAllString(before, ""), age.ReplaceAllString(after, ""); a != b {
			t.Errorf("%s: what was refused has changed\n%s\nto\n%s", state, a, b)
		}
	}
	w.refused(t, "no such file", "vulndb", "import", "/nowhere")
	w.refused(t, "there is no former vulnerability database", "vulndb", "former")
	w.refused(t, "no sources of vulnerability databases are configured", "vulndb", "refresh")
	refuses("with no database", broken[len(broken)-3:])
	if present, ok := metric(t, admin, "berth_vulndb_present"); !ok || present != 0 {
		t.Errorf("berth_vulndb_present is %v, %t", present, ok)
	}
	if age, ok := metric(t, admin, "berth_vulndb_age_seconds"); ok {
		t.Errorf("without a database its age is %v", age)
	}

	t.Log("one that is right")
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		path := filepath.Join(dir, must(h, err)(t).Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, must(io.ReadAll(r))(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said := w.berth(t, "vulndb", "import", dir)
	want := "The vulnerability database " + harness.Digest(good) + ", made 2026-01-01 05:00, is in use.\n" +
		"It is old: vulnerabilities that were published since are not found. Fetch a newer one.\n"
	if said != want {
		t.Errorf("berth vulndb import printed %q, want %q", said, want)
	}
	for what, path := range map[string]string{"a layout in a tar archive": file(t, packed), "db.tar.gz": file(t, good)} {
		if said = w.berth(t, "vulndb", "import", path); !strings.Contains(said, "It was in use already; its stored copy was replaced.") {
			t.Errorf("%s of the one in use: %s", what, said)
		}
	}
	w.uses(t, good)
	if s := w.standing(t); s.Current.Schema != 2 || !s.Current.Updated.Equal(made(5)) || s.Former != nil || !s.Stale || s.Current.Size != int64(len(good)) || !strings.Contains(s.Advice, "the database is old") {
		t.Errorf("berth vulndb status --json printed %+v of %+v", s, s.Current)
	}
	text := w.berth(t, "vulndb", "status")
	for _, part := range []string{harness.Digest(good), "2026-01-01 05:00 (", "too old)", "on this node   yes", "none; there is no automatic refresh"} {
		if !strings.Contains(text, part) {
			t.Errorf("berth vulndb status lacks %q:\n%s", part, text)
		}
	}
	refuses("with a database", broken)

	t.Log("older, newer and former ones")
	older, newer := database(t, 4, perl(t)...), archived(t, matchtest.DB{UpdatedAt: time.Now().Add(-time.Hour).UTC().Truncate(time.Second), Buckets: perl(t)})
	w.refused(t, "the database was made at 2026-01-01 04:00 UTC, before the one in use (2026-01-01 05:00 UTC): fetch a newer one, or give --older to go back to it", "vulndb", "import", file(t, older))
	if said = w.take(t, newer); strings.Contains(said, "It is old") {
		t.Errorf("of a new one berth vulndb import says %q", said)
	}
	w.uses(t, newer)
	if s := w.standing(t); s.Stale || s.Advice != "" || s.Former == nil || s.Former.Digest != harness.Digest(good) {
		t.Errorf("after a newer one: %+v", s)
	}
	w.onPush(t, "app")
	source := func(tag string) time.Time {
		t.Helper()
		w.push(t, "app", tag, linux, perlLayer(t))
		return aws.ToTime(w.becomes(t, "app", tag, types.ScanStatusComplete).ImageScanFindings.VulnerabilitySourceUpdatedAt)
	}
	if got := source("newer"); time.Since(got) > 2*time.Hour {
		t.Errorf("the findings are of %s", got)
	}
	w.berth(t, "vulndb", "former")
	w.uses(t, good)
	if got := source("former"); !got.Equal(made(5)) {
		t.Errorf("with the former one the findings are of %s", got)
	}
	if s := w.standing(t); s.Former == nil || s.Former.Digest != harness.Digest(newer) {
		t.Errorf("after going back: %+v", s)
	}
	w.take(t, older, "--older")
	w.uses(t, older)
	if got := source("older"); !got.Equal(made(4)) {
		t.Errorf("with an older one the findings are of %s", got)
	}

	t.Log("the metrics") // which are read anew every 15 seconds
	wait(t, "the metrics to show the database", func() bool { present, _ := metric(t, admin, "berth_vulndb_present"); return present == 1 })
	wait(t, "the metrics to show the last one", func() bool {
		age, ok := metric(t, admin, "berth_vulndb_age_seconds")
		since := time.Since(made(4)).Seconds()
		return ok && age <= since && age > since-limit.Seconds()
	})

	t.Log("after a kill")
	w.Kill()
	if err := os.RemoveAll(filepath.Join(w.Data, "vulndb")); err != nil { // as on a new machine: it comes out of the store
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.uses(t, older)
	if got := source("killed"); !got.Equal(made(4)) {
		t.Errorf("after a kill the findings are of %s", got)
	}
	w.MustFsck(t)
}

// TestPushedDatabase: the artifact that is pushed into the configured repository is put
// into use; what is older is not.
func TestPushedDatabase(t *testing.T) {
	t.Parallel()
	published := harness.StartDistribution(t)
	one, two := database(t, 2, perl(t)...), database(t, 3, perl(t)...)
	publish(t, published.Registry, "aquasec/trivy-db", one)
	w := start(t, harness.Options{Config: "scanning: {database: {repository: 000000000000/us-east-1/mirror/trivy-db}}\n"})
	w.CreateRepository(t, "mirror/trivy-db", "elsewhere/trivy-db")
	w.onPush(t, "app")
	w.push(t, "app", "v1", linux, perlLayer(t))
	w.becomes(t, "app", "v1", types.ScanStatusFailed)

	b := harness.NewBox(t, "skopeo")
	said := b.Run(w.Binary(), "vulndb", "fetch", "--source", published.Host+"/aquasec/trivy-db:2", "--plain-http", "-o", "trivy-db.tar")
	if !strings.Contains(said, "Wrote trivy-db.tar") {
		t.Errorf("berth vulndb fetch printed %s", said)
	}
	b.Feed(w.Password(t), "skopeo", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", w.Host)
	copied := func(from, repo string) {
		t.Helper()
		b.Run("skopeo", "copy", "--dest-tls-verify=false", "--src-tls-verify=false", from, "docker://"+w.Host+"/"+repo+":2")
	}
	copied("oci-archive:trivy-db.tar", "elsewhere/trivy-db")
	if s := w.standing(t); s.Current != nil {
		t.Errorf("what was pushed elsewhere is in use: %+v", s.Current)
	}
	copied("oci-archive:trivy-db.tar", "mirror/trivy-db")
	w.uses(t, one)
	w.becomes(t, "app", "v1", types.ScanStatusComplete)
	same(t, "the image that was pushed before", w.complete(t, "app", "v1"), perlLines())
	if s := w.standing(t); !strings.HasPrefix(s.Current.Source, "000000000000/us-east-1/mirror/trivy-db@sha256:") {
		t.Errorf("it comes from %s", s.Current.Source)
	}
	publish(t, published.Registry, "aquasec/trivy-db", two)
	copied("docker://"+published.Host+"/aquasec/trivy-db:2", "mirror/trivy-db")
	w.uses(t, two)
	publish(t, w.root, "mirror/trivy-db", database(t, 1, perl(t)...))
	wait(t, "an older one to be passed over", func() bool {
		return strings.Contains(w.Log(), "the vulnerability database that was pushed is not used")
	})
	w.uses(t, two)
	fetched := b.Path("trivy-db.tar")
	w.refused(t, "before the one in use", "vulndb", "import", fetched)
	w.berth(t, "vulndb", "import", fetched, "--older")
	w.uses(t, one)
}

// TestSources: sources are asked in order; what they have is put into use if it is newer.
func TestSources(t *testing.T) {
	t.Parallel()
	published := harness.StartDistribution(t)
	nowhere, source := published.Host+"/nowhere/trivy-db:2", published.Host+"/aquasec/trivy-db:2"
	one, two, three := database(t, 1, perl(t)...), database(t, 2, perl(t)...), database(t, 3, perl(t)...)
	publish(t, published.Registry, "aquasec/trivy-db", one)
	w := start(t, harness.Options{Config: fmt.Sprintf("scanning: {database: {sources: [%q, %q], plain_http: true, allow_private: true}}\n", nowhere, source)})
	w.uses(t, one) // by itself
	wait(t, "the source to be noted", func() bool { return w.standing(t).AskedSource == source })
	if said := w.berth(t, "vulndb", "refresh"); !strings.Contains(said, "The sources have nothing newer.") {
		t.Errorf("berth vulndb refresh printed %s", said)
	}
	publish(t, published.Registry, "aquasec/trivy-db", two)
	if said := w.berth(t, "vulndb", "refresh"); !strings.Contains(said, harness.Digest(two)) || strings.Contains(said, "nothing newer") {
		t.Errorf("berth vulndb refresh printed %s", said)
	}
	w.uses(t, two)
	w.berth(t, "vulndb", "former")
	if said := w.berth(t, "vulndb", "refresh"); !strings.Contains(said, "The sources have nothing newer.") {
		t.Errorf("the one that was left comes back: %s", said)
	}
	w.uses(t, one)
	publish(t, published.Registry, "aquasec/trivy-db", three)
	w.berth(t, "vulndb", "refresh")
	w.uses(t, three)

	t.Log("a source that gives something else")
	published.Registry.PushImage(t, "aquasec/trivy-db", "2", 1, 1000)
	w.refused(t, source+": ", "vulndb", "refresh")
	if s := w.standing(t); !strings.Contains(s.AskedError, source) || !strings.Contains(s.AskedError, nowhere) || s.Current.Digest != harness.Digest(three) {
		t.Errorf("after a failure: %+v", s)
	}
	if text := w.berth(t, "vulndb", "status"); !strings.Contains(text, "failed: ") {
		t.Errorf("berth vulndb status printed %s", text)
	}
}

// TestNodes: three nodes of a deployment fetch a database once, and each of them scans.
func TestNodes(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	one := database(t, 1, perl(t)...)
	put := func(archive []byte) {
		up.PutBlob("trivy-db", archive)
		up.PutBlob("trivy-db", []byte("{}"))
		up.PutManifest("trivy-db", "2", harness.OCIImage, artifact(t, archive))
	}
	put(one)
	var nodes []*world
	var admins []string
	for range 3 {
		admin := harness.FreeAddress(t)
		o := harness.Options{Shape: harness.ScaleOut, Config: fmt.Sprintf("admin_listen: %s\nscanning: {database: {sources: [%q], plain_http: true, allow_private: true}}\n", admin, up.Host()+"/trivy-db:2")}
		var n *harness.Server
		if len(nodes) == 0 {
			n = harness.Start(t, o)
		} else {
			n = harness.StartNode(t, nodes[0].Server, o)
		}
		nodes, admins = append(nodes, &world{Server: n, root: n.Registry(t)}), append(admins, admin)
	}
	for _, n := range nodes {
		n.uses(t, one)
	}
	once := func(archive []byte) {
		t.Helper()
		if n := up.CountPath(upstreamtest.Blob, harness.Digest(archive)); n != 1 {
			t.Errorf("three nodes have fetched the database %d times", n)
		}
	}
	once(one)

	nodes[0].configure(t, types.ScanTypeEnhanced, "CONTINUOUS_SCAN *")
	nodes[0].CreateRepository(t, "app")
	total := func(series string) (sum float64, all bool) {
		all = true
		for _, admin := range admins {
			v, _ := metric(t, admin, series)
			sum, all = sum+v, all && v > 0
		}
		return sum, all
	}
	const ended = `berth_scans_total{result="complete",type="enhanced"}`
	var tags []string
	base := perlLayer(t).unpacked(t)
	for shared := false; !shared && len(tags) < 200; { // a node that is slow to wake may be too late for the first ones
		for range 10 {
			tags = append(tags, fmt.Sprint("v", len(tags)))
			nodes[0].push(t, "app", tags[len(tags)-1], linux, base, plain(t, "one", tags[len(tags)-1]))
		}
		wait(t, "the metrics to show all scans", func() bool {
			var n float64
			n, shared = total(ended)
			return n >= float64(len(tags))
		})
	}
	if _, shared := total(ended); !shared {
		t.Errorf("there are nodes that scanned none of %d images", len(tags))
	}
	for i, tag := range tags {
		out := nodes[i%3].becomes(t, "app", tag, types.ScanStatusActive)
		if got := ids(out); len(got) != 13 {
			t.Errorf("%s has %q", tag, got)
		}
	}

	t.Log("a new database on one node counts on all, and reads nothing again")
	layers, _ := total("berth_scan_layers_total")
	two := database(t, 2, append(perl(t), advisories(matchtest.Advisory{Pkg: "bash", ID: "CVE-2026-0001", Severity: "CRITICAL"}))...)
	put(two)
	nodes[1].berth(t, "vulndb", "refresh")
	for _, n := range nodes {
		n.uses(t, two)
	}
	once(two)
	for i, tag := range tags {
		wait(t, "the new database's findings", func() bool {
			out := must(nodes[(i+1)%3].describe(t, "app", tag))(t)
			return aws.ToTime(out.ImageScanFindings.VulnerabilitySourceUpdatedAt).Equal(made(2)) && len(out.ImageScanFindings.EnhancedFindings) == 14 && ids(out)[0] == "CVE-2026-0001 CRITICAL"
		})
	}
	wait(t, "the metrics to show all matches", func() bool {
		n, _ := total("berth_scan_rematches_total")
		return n >= float64(len(tags))
	})
	if again, _ := total("berth_scan_layers_total"); again != layers {
		t.Errorf("%v layers were read before the new database, %v after it", layers, again)
	}
	nodes[2].MustFsck(t)
}

// TestUnplugged: with no network but the loopback device, a database is imported, and
// images are pushed, scanned and listed.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	inside := harness.NewNamespace(t, true)
	// What cannot be reached is asked, as by an operator who forgot to take it out.
	s := harness.Start(t, harness.Options{Namespace: inside, Config: "scanning: {database: {sources: [\"mirror.gcr.io/aquasec/trivy-db:2\"]}, sbom: [spdx]}\n"})
	b := harness.NewBox(t, "bash", "aws", "skopeo", "oras")
	b.Namespace = inside
	env := environment(b, s) + "export BERTH_DATA=" + s.Data + "\n"
	if err := os.CopyFS(b.Path("layout"), must(matchtest.PerlImage())(t)); err != nil {
		t.Fatal(err)
	}
	b.Write("db.tar.gz", database(t, 1, perl(t)...))
	out := b.Script(env + `
		` + s.Binary() + ` vulndb import db.tar.gz >&2
		aws ecr create-repository --repository-name app --image-scanning-configuration scanOnPush=true >/dev/null
		aws ecr get-login-password | skopeo login --tls-verify=false --username AWS --password-stdin ` + s.Host + ` >&2
		skopeo copy --dest-tls-verify=false oci:layout docker://` + s.Host + `/app:v1 >&2
		aws ecr wait image-scan-complete --repository-name app --image-id imageTag=v1
		aws ecr describe-image-scan-findings --repository-name app --image-id imageTag=v1 --query 'imageScanFindings.findings[].name' --output text
	`)
	same(t, "the findings", strings.Fields(out), thirteen)
	bom := decode[struct{ Components []component }](t, b.Script(env+s.Binary()+` sbom app:v1`))
	if !slices.ContainsFunc(bom.Components, func(c component) bool { return c.Name == "perl-base" }) {
		t.Errorf("berth sbom lists %d components without perl-base", len(bom.Components))
	}
	wait(t, "the list to be attached", func() bool {
		tree := decode[struct{ Referrers []json.RawMessage }](t, b.Run("oras", "discover", "--plain-http", "--registry-config", b.Getenv("REGISTRY_AUTH_FILE"), "--format", "json", s.Host+"/app:v1"))
		return len(tree.Referrers) == 1
	})
	s.MustFsck(t)
}
