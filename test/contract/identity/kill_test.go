package identity

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// TestKilled: what was acknowledged decides after a kill -9 as it did before, and
// what was given out, keys, sessions and tokens, goes on.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	repo, _ := w.a.filled(t)
	reader := w.a.user(t, append(can(pulling, repo), allow("sts:AssumeRole", "*"))...)
	role := w.a.role(t, trust(reader.arn), can(pulling, repo)...)
	session := must(reader.assume(t.Context(), role, nil))(t)
	token, ofSession := reader.registry(t), session.registry(t)
	stranger := w.b.user(t, can(pulling, repo)...)
	w.a.setPolicy(t, repo, grant(pulling, principals(stranger.arn)))
	afar := stranger.login(t)

	// The last change before the kill is refused to nobody but whom it names.
	gone := w.a.user(t, can(pulling, repo)...)
	goneToken := gone.registry(t)
	must(w.a.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &gone.name, PolicyName: aws.String("own")}))(t)
	w.Kill()
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := pull(t.Context(), token, repo); err != nil {
		t.Errorf("a user's token: %v", err)
	}
	if err := pull(t.Context(), ofSession, repo); err != nil {
		t.Errorf("a session's token: %v", err)
	}
	if err := pull(t.Context(), w.registryOf(accountA, afar), repo); err != nil {
		t.Errorf("another account's token: %v", err)
	}
	if err := pull(t.Context(), goneToken, repo); err == nil {
		t.Error("a policy that was deleted holds again")
	}
	for what, c := range map[string]*caller{"a key": reader, "a session": session} {
		if _, err := c.ecr.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: &repo, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(w.a.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(lastOf(role))}))(t)
	w.MustFsck(t)
}
