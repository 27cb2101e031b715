package walkthrough

import (
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestBeyondECR does what docs/beyond-ecr.md tells: all its shell blocks in one
// shell, exactly as they are printed.
func TestBeyondECR(t *testing.T) {
	inside := harness.NewNamespace(t, true)
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	b.Namespace = inside
	clone(t, b)
	const title = "the whole page"
	page := strings.ReplaceAll(string(b.Read("docs", "beyond-ecr.md")), "\n## ", "\n### ")
	blocks := shellBlocks(t, "\n## "+title+"\n"+page, title)
	makeRun(t, b, inside)
	harness.StartDocker(t, b)

	const mark = "--- the next block ---"
	out := b.Script(strings.Join(blocks, "\necho '"+mark+"'\n"))
	t.Logf("the page printed:\n%s", out)
	parts := strings.Split(out, mark)
	wanted := [][]string{
		{"Login Succeeded", "localhost:5000/shop", "v1: digest: sha256:"},
		{`recovery-window +7d +setting`, `deletion-protection +false +default`},
		{`recovery-window +7d +setting`, `deletion-protection +true +tag`},
		{"refused, as it should be"},
		{`"failures": \[\]`, `shop +sha256:[0-9a-f]{64} +v1 `, `Restored sha256:[0-9a-f]{64} with the tags v1\.`, "localhost:5000/shop:v1"},
		{`shop +\(the repository, with 1 image\)`, `Restored the repository shop-as-it-was\. Images in it: 1\.`, "localhost:5000/shop-as-it-was:v1"},
		{`Purged shop-as-it-was sha256:[0-9a-f]{64}`},
		{"prod-1: digest: sha256:", "refused, as it should be", `"imageTag": "v1"`},
		{`tokens of account 000000000000 live 30m0s from now on`, `\d{4}-\d\d-\d\dT\d\d:\d\d`, `live 12h0m0s from now on`},
	}
	if len(parts) != len(wanted) {
		t.Fatalf("%d blocks printed %d parts; this test looks at %d", len(blocks), len(parts), len(wanted))
	}
	for i, all := range wanted {
		for _, want := range all {
			if !regexp.MustCompile(want).MatchString(parts[i]) {
				t.Errorf("block %d does not show %s:\n%s\nIt printed:\n%s", i+1, want, blocks[i], parts[i])
			}
		}
	}
	left := b.Script(`eval "$(bin/berth env)"
aws ecr describe-repositories --query 'repositories[].repositoryName' --output text
aws ecr list-images --repository-name shop --query 'imageIds[].imageTag' --output text`)
	if got, want := left, "shop\tshop-as-it-was\nprod-1"; got != want {
		t.Errorf("the page left\n%s\nwant\n%s", got, want)
	}
}
