package walkthrough

import (
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestUsers does what docs/users.md tells: all its shell blocks in one shell,
// exactly as they are printed.
func TestUsers(t *testing.T) {
	inside := harness.NewNamespace(t, true)
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	b.Namespace = inside
	clone(t, b)
	const title = "the whole page"
	page := strings.ReplaceAll(string(b.Read("docs", "users.md")), "\n## ", "\n### ")
	blocks := shellBlocks(t, "\n## "+title+"\n"+page, title)
	makeRun(t, b, inside)
	harness.StartDocker(t, b)

	const mark = "--- the next block ---"
	out := b.Script(strings.Join(blocks, "\necho '"+mark+"'\n"))
	secret := regexp.MustCompile(`(?m)^(Secret access key: +)\S+`)
	t.Logf("the page printed:\n%s", secret.ReplaceAllString(out, "$1..."))
	parts := strings.Split(out, mark)
	if len(parts) != len(blocks) {
		t.Fatalf("%d blocks printed %d parts", len(blocks), len(parts))
	}
	const account = "000000000000"
	for i, wanted := range map[int][]string{
		0: {`"GroupName": "developers"`, `"Arn": "arn:aws:iam::` + account + `:user/build"`, "localhost:5000/demo"},
		1: {`"Arn": "arn:aws:iam::` + account + `:user/build"`, `"Account": "` + account + `"`},
		2: {"Login Succeeded", "Pushed", "v1: digest: sha256:", "refused, as it should be"},
		3: {
			"DENIED", "User: arn:aws:iam::" + account + ":user/build is not authorized to perform: ecr:DeleteRepository on resource: arn:aws:ecr:us-east-1:" +
				account + ":repository/demo because no identity-based policy allows the ecr:DeleteRepository action", "exit status 3",
		},
		4: {`"RoleName": "puller"`, "arn:aws:sts::" + account + ":assumed-role/puller/first"},
		5: {"arn:aws:iam::111122223333:root", "Access key id:", "Secret access key:", "platform", account},
		6: {"platform pulls", "arn:aws:iam::111122223333:root", "ecr:GetDownloadUrlForLayer"},
		7: {"arn:aws:iam::" + account + ":oidc-provider/token.actions.githubusercontent.com", `"RoleName": "ci"`},
	} {
		if i >= len(parts) {
			t.Fatalf("the page has %d blocks; this test knows more", len(parts))
		}
		for _, want := range wanted {
			if !strings.Contains(parts[i], want) {
				t.Errorf("block %d does not show %s:\n%s\nIt printed:\n%s", i+1, want, blocks[i], secret.ReplaceAllString(parts[i], "$1..."))
			}
		}
	}
	if len(parts) != 8 {
		t.Errorf("the page has %d blocks, this test looks at 8", len(parts))
	}
	// Everything that the page made is there, and the user's push as well.
	left := b.Script(`eval "$(bin/berth env)"
aws iam get-group --group-name developers --query 'Users[].UserName' --output text
aws iam list-roles --query 'sort(Roles[].RoleName)' --output text
aws ecr list-images --repository-name demo --query 'imageIds[].imageTag' --output text`)
	if got, want := left, "build\nci\tpuller\nv1"; got != want {
		t.Errorf("the page left\n%s\nwant\n%s", got, want)
	}
}
