package identity

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/test/contract/harness"
)

// Both sides of an access across accounts: what the repository says, and what
// the user's own policy says. Each is missing once.
type sides struct {
	name               string
	resource, identity bool
	// refused is how the API and the registry refuse an action; "" for granted.
	refused string
}

func allSides() []sides {
	return []sides{
		{"neither side", false, false, "because no identity-based policy allows the "},
		{"the repository alone", true, false, "because no identity-based policy allows the "},
		{"the user alone", false, true, "because no resource-based policy allows the "},
		{"both sides", true, true, ""},
	}
}

func (s sides) expect(t *testing.T, what, action string, err error) {
	t.Helper()
	want := ""
	if s.refused != "" {
		want = s.refused + action + " action"
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %s: %v", s.name, what, err)
	case want != "" && err == nil:
		t.Errorf("%s: %s is granted", s.name, what)
	case want != "" && !strings.HasSuffix(answerOf(err), want):
		t.Errorf("%s: %s is refused with\n%s\nwant\n%s", s.name, what, answerOf(err), want)
	}
}

// crossAccount pulls and pushes in account A as users of account B, by the API
// and by the registry.
func crossAccount(t *testing.T, w *world) {
	ctx := t.Context()
	repo, pulled := w.a.filled(t)
	in, out := w.b.user(t), w.b.user(t)
	registryOf := func(u *caller) *harness.Registry {
		w.b.put(t, u.name, allow(signIn, "*"))
		return w.registryOf(accountA, u.login(t))
	}
	puller, pusher := registryOf(in), registryOf(out)
	everywhere := "arn:aws:ecr:*:" + accountA + ":repository/*"
	for _, s := range allSides() {
		var held []statement
		if s.resource {
			held = append(held, grant(pulling, principals(in.arn)), grant(pushing, principals(rootARN(accountB))).when("ArnEquals", "aws:PrincipalArn", out.arn))
		}
		switch {
		case len(held) > 0:
			w.a.setPolicy(t, repo, held...)
		default:
			_, err := w.a.ecr.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: &repo})
			if err != nil && answerOf(codeOf(err)) != "RepositoryPolicyNotFoundException" {
				t.Fatal(err)
			}
		}
		mine := []statement{allow(signIn, "*")}
		if s.identity {
			mine = append(mine, allow(pushing, everywhere))
		}
		w.b.put(t, in.name, mine...)
		w.b.put(t, out.name, mine...)

		s.expect(t, "BatchGetImage", "ecr:BatchGetImage", func() error {
			got, err := in.ecr.BatchGetImage(ctx, &ecr.BatchGetImageInput{RegistryId: aws.String(accountA), RepositoryName: &repo, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}})
			if err == nil && (len(got.Images) != 1 || *got.Images[0].ImageManifest != string(pulled.manifest)) {
				t.Errorf("%s: BatchGetImage gave %v", s.name, got.Images)
			}
			return err
		}())
		s.expect(t, "pull", "ecr:BatchGetImage", pull(ctx, puller, repo))
		s.expect(t, "PutImage", "ecr:PutImage", putImage(ctx, out, repo, unique("tag"), pulled))
		s.expect(t, "push", "ecr:InitiateLayerUpload", push(ctx, pusher, repo, newImage(t)))
		// Who may pull may not push, however much its own policy allows.
		if err := putImage(ctx, in, repo, unique("tag"), pulled); err == nil {
			t.Errorf("%s: the user who may pull has pushed", s.name)
		}
	}
	// What the other side may do is the repository's matter, not the registry's.
	s := sides{"another repository", true, true, "because no resource-based policy allows the "}
	other, _ := w.a.filled(t)
	s.expect(t, "pull", "ecr:BatchGetImage", pull(ctx, puller, other))
}

// putImage puts the image under another tag, which needs no upload.
func putImage(ctx context.Context, c *caller, repo, tag string, i image) error {
	_, err := c.ecr.PutImage(ctx, &ecr.PutImageInput{RegistryId: aws.String(accountA), RepositoryName: &repo, ImageTag: &tag, ImageManifest: aws.String(string(i.manifest))})
	return err
}

// crossAccountByCrane is the same with a real client, which finds the other
// account's registry by its canonical host.
func crossAccountByCrane(t *testing.T, w *world) {
	repo := w.a.repo(t)
	host := w.withPort(registryHost(accountA, home))
	inside := harness.NewNamespace(t, false)
	inside.Hosts(t, net.IPv4(127, 0, 0, 1), registryHost(accountA, home), registryHost(accountB, home))
	b := harness.NewBox(t, "crane")
	b.Namespace = inside
	u := w.b.user(t, allow(signIn, "*"))
	b.Feed(u.password(t), "crane", "auth", "login", host, "--username", "AWS", "--password-stdin")
	tarball := b.Write("root.tar", harness.Tar(t, "file", harness.Random(7, 50_000)))
	ref := host + "/" + repo + ":v1"
	pushIt := []string{"append", "--oci-empty-base", "-f", tarball, "-t", ref}

	mine := func(statements ...statement) { w.b.put(t, u.name, append(statements, allow(signIn, "*"))...) }
	// crane asks for layers first by HEAD, whose refusal has no text.
	b.Refused("403 Forbidden", "crane", pushIt...)
	w.a.setPolicy(t, repo, grant(pulling, principals(rootARN(accountB))))
	mine(allow(pulling, "*"))
	b.Refused("because no identity-based policy allows the ecr:InitiateLayerUpload action", "crane", pushIt...)
	mine(allow(pushing, repoARN(accountA, repo)))
	b.Refused("because no resource-based policy allows the ecr:InitiateLayerUpload action", "crane", pushIt...)
	w.a.setPolicy(t, repo, grant(pushing, principals(rootARN(accountB))))
	b.Run("crane", pushIt...)
	b.Run("crane", "validate", "--remote", ref)
	digest := b.Run("crane", "digest", ref)
	if whole := w.a.registry(t).Verify(t, repo, "v1"); whole.Digest != digest {
		t.Errorf("crane has pushed %s, the registry has %s", digest, whole.Digest)
	}
	w.a.setPolicy(t, repo, grant(pulling, principals(rootARN(accountB))))
	b.Run("crane", "pull", ref, b.Path("image.tar"))
	b.Refused("because no resource-based policy allows the ecr:PutImage action", "crane", "tag", ref, "v2")
	mine()
	b.Refused("because no identity-based policy allows the ecr:BatchGetImage action", "crane", "pull", ref, b.Path("again.tar"))
	mine(allow(pulling, "*"))
	must(w.a.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &repo}))(t)
	b.Refused("because no resource-based policy allows the ecr:BatchGetImage action", "crane", "pull", ref, b.Path("again.tar"))

	// A role of the owner's account needs no repository policy.
	role := w.a.role(t, trust(u.arn), allow(signIn, "*"), allow(pulling, repoARN(accountA, repo)))
	mine(allow("sts:AssumeRole", role))
	session := must(u.assume(t.Context(), role, nil))(t)
	b.Feed(session.password(t), "crane", "auth", "login", host, "--username", "AWS", "--password-stdin")
	b.Run("crane", "pull", ref, b.Path("again.tar"))
	must(w.b.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &u.name, PolicyName: aws.String("own")}))(t)
	b.Run("crane", "digest", ref) // the session is the role's, not the user's
}
