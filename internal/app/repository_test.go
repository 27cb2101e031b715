package app_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/app/repositoryadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// startClocked runs the program with its socket and its jobs, on a clock of the
// test's.
func startClocked(t *testing.T) (*apptest.Server, admin, *clock.Fake) {
	t.Helper()
	clk, data := clock.NewFake(time.Now()), ""
	s := apptest.Start(t, apptest.Options{Clock: clk, Config: func(c *config.Config) { data, c.Listen = c.Data, "127.0.0.1:0" }})
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
	o := s.ECR.Options()
	o.HTTPSignerV4, o.AuthSchemes = clockedSigner{v4.NewSigner(), clk}, nil // New makes the schemes again
	s.ECR = ecr.New(o)
	return s, admin{t, app.AdminClient(data)}, clk
}

// clockedSigner signs requests at the time of the test's clock.
type clockedSigner struct {
	*v4.Signer
	clk clock.Clock
}

// SignHTTP signs a request.
func (c clockedSigner) SignHTTP(ctx context.Context, who aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return c.Signer.SignHTTP(ctx, who, r, payloadHash, service, region, c.clk.Now(), o...)
}

// checked checks everything and returns the sum.
func checked(t *testing.T, s *apptest.Server) (sum app.FsckSum) {
	t.Helper()
	s.App.Fsck(t.Context(), func(l app.FsckLine) {
		if l.Problem != "" || l.Error != "" {
			t.Errorf("fsck: %+v", l)
		}
		if l.Sum != nil {
			sum = *l.Sum
		}
	})
	return sum
}

// pulls fetches an image with its layers, or says false.
func pulls(t *testing.T, s *apptest.Server, repo, reference string, layers ...[]byte) bool {
	t.Helper()
	authorization := s.Authorization(t)
	if answer, _ := apptest.Do(t, http.MethodGet, s.URL+"/v2/"+repo+"/manifests/"+reference, authorization, nil, map[string]string{"Accept": "*/*"}); answer.StatusCode != http.StatusOK {
		return false
	}
	for _, l := range layers {
		answer, content := apptest.Do(t, http.MethodGet, s.URL+"/v2/"+repo+"/blobs/"+digest.FromBytes(l).String(), authorization, nil, nil)
		if answer.StatusCode != http.StatusOK || string(content) != string(l) {
			t.Errorf("a layer of %s: %s %q", reference, answer.Status, content)
		}
	}
	return true
}

// eventually advances the clock until the condition holds.
func eventually(t *testing.T, clk *clock.Fake, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		clk.Advance(11 * time.Minute)
	}
}

func deleteImage(t *testing.T, client *ecr.Client, repo string, ids ...types.ImageIdentifier) {
	t.Helper()
	out, err := client.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &repo, ImageIds: ids})
	if err != nil || len(out.Failures) > 0 {
		t.Fatalf("%+v %v", out, err)
	}
}

func TestRecoveryOfAnImage(t *testing.T) {
	s, a, clk := startClocked(t)
	ctx, layer := t.Context(), []byte("a layer that comes back")
	if _, err := s.ECR.CreateRepository(ctx, &ecr.CreateRepositoryInput{
		RepositoryName: aws.String("team/app"), Tags: []types.Tag{{Key: aws.String("berth:recovery-window"), Value: aws.String("7d")}},
	}); err != nil {
		t.Fatal(err)
	}
	d := apptest.PushImage(t, s.URL, s.Authorization(t), "team/app", "v1", nil, layer)
	before, err := s.ECR.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("team/app")})
	if err != nil {
		t.Fatal(err)
	}
	target := repositoryadmin.Target{Repository: "team/app"}
	list := func(images bool) []repositoryadmin.Deleted {
		var page repositoryadmin.Page
		a.must("POST", "/repositories/deleted/list", repositoryadmin.ListRequest{Images: images}, &page)
		return page.Entries
	}
	clk.Advance(time.Hour)
	deleteImage(t, s.ECR, "team/app", types.ImageIdentifier{ImageTag: aws.String("v1")})
	if pulls(t, s, "team/app", "v1") || pulls(t, s, "team/app", d.String()) {
		t.Error("a deleted image can be pulled")
	}
	all := list(true)
	if len(all) != 1 || all[0].Repository != "team/app" || string(all[0].Digest) != d.String() || len(all[0].Tags) != 1 || all[0].KeptUntil.Sub(all[0].DeletedAt) != 7*24*time.Hour {
		t.Fatalf("%+v", all)
	}
	if sum := checked(t, s); sum.Images != 1 || sum.Layers != 2 {
		t.Errorf("%+v", sum)
	}
	var back repositoryadmin.RestoreAnswer
	a.must("POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, Image: "v1"}, &back)
	if len(back.Images) != 1 || string(back.Images[0].Digest) != d.String() || !pulls(t, s, "team/app", "v1", layer) {
		t.Errorf("%+v", back)
	}
	after, err := s.ECR.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("team/app")})
	if err != nil || len(after.ImageDetails) != 1 || !after.ImageDetails[0].ImagePushedAt.Equal(*before.ImageDetails[0].ImagePushedAt) {
		t.Errorf("%+v %v", after, err)
	}
	a.refused("no deleted image 'v1'", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, Image: "v1"})

	// Through the registry, and to the end of the window.
	if answer, text := apptest.Do(t, http.MethodDelete, s.URL+"/v2/team/app/manifests/"+d.String(), s.Authorization(t), nil, nil); answer.StatusCode != http.StatusAccepted {
		t.Fatalf("%s %s", answer.Status, text)
	}
	if len(list(true)) != 1 {
		t.Error("it is not in the bin")
	}
	clk.Advance(7*24*time.Hour + time.Second)
	eventually(t, clk, "the window has no end", func() bool { return len(list(true)) == 0 })
	a.refused("no deleted image", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, Image: d.String()})
	clk.Advance(24 * time.Hour)
	eventually(t, clk, "the bytes stay", func() bool { return checked(t, s) == app.FsckSum{} })

	// Purged before its time.
	apptest.PushImage(t, s.URL, s.Authorization(t), "team/app", "v2", nil, layer)
	deleteImage(t, s.ECR, "team/app", types.ImageIdentifier{ImageTag: aws.String("v2")})
	var gone []repositoryadmin.Deleted
	a.must("POST", "/repositories/deleted/purge", repositoryadmin.PurgeRequest{Target: target, Image: "v2"}, &gone)
	if len(gone) != 1 || len(list(true)) != 0 {
		t.Errorf("%+v", gone)
	}
}

func TestRecoveryOfARepository(t *testing.T) {
	s, a, clk := startClocked(t)
	ctx, layer := t.Context(), []byte("a layer that comes back")
	s.CreateRepository(t, "app")
	d := apptest.PushImage(t, s.URL, s.Authorization(t), "app", "v1", nil, layer)
	target := repositoryadmin.Target{Repository: "app"}
	var settings []repository.Setting
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "set", Name: "recovery-window", Value: "2d"}, &settings)
	if len(settings) != 4 || settings[1] != (repository.Setting{Name: "recovery-window", Value: "2d", From: "setting"}) {
		t.Errorf("%+v", settings)
	}
	deleted, err := s.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true})
	if err != nil || *deleted.Repository.RepositoryName != "app" || !strings.HasSuffix(*deleted.Repository.RepositoryArn, "repository/app") {
		t.Fatalf("%+v %v", deleted, err)
	}
	if all, err := s.ECR.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{}); err != nil || len(all.Repositories) != 0 {
		t.Errorf("%+v %v", all, err)
	}
	if pulls(t, s, "app", "v1") {
		t.Error("a deleted repository can be pulled from")
	}
	if _, text := apptest.Do(t, http.MethodGet, s.URL+"/v2/_catalog", s.Authorization(t), nil, nil); strings.Contains(string(text), "app") || strings.Contains(string(text), "deleted") {
		t.Errorf("%s", text)
	}
	if sum := checked(t, s); sum.Images != 1 {
		t.Errorf("%+v", sum)
	}
	var page repositoryadmin.Page
	a.must("POST", "/repositories/deleted/list", repositoryadmin.ListRequest{}, &page)
	if len(page.Entries) != 1 || page.Entries[0].Repository != "app" || page.Entries[0].Images != 1 {
		t.Fatalf("%+v", page)
	}
	a.refused("restore it first", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, Image: "v1"})
	s.CreateRepository(t, "app")
	a.refused("already exists", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target})
	a.refused("no name of a repository", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, As: "NOT"})
	var back repositoryadmin.RestoreAnswer
	a.must("POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target, As: "old/app"}, &back)
	if back.Repository != "old/app" || back.Held != 1 || !pulls(t, s, "old/app", d.String(), layer) {
		t.Errorf("%+v", back)
	}

	// Without a window a repository is gone at once.
	if _, err := s.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true}); err != nil {
		t.Fatal(err)
	}
	a.refused("there is no deleted repository app", "POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: target})

	// Several of a name.
	old := repositoryadmin.Target{Repository: "old/app"}
	remove := func() {
		t.Helper()
		if _, err := s.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("old/app"), Force: true}); err != nil {
			t.Fatal(err)
		}
		clk.Advance(time.Minute)
	}
	remove()
	s.CreateRepository(t, "old/app")
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: old, Do: "set", Name: "recovery-window", Value: "30d"}, nil)
	remove()
	page = repositoryadmin.Page{}
	a.must("POST", "/repositories/deleted/list", repositoryadmin.ListRequest{Target: old}, &page)
	if len(page.Entries) != 2 {
		t.Fatalf("%+v", page)
	}
	a.refused("name one by its number", "POST", "/repositories/deleted/purge", repositoryadmin.PurgeRequest{Target: old})
	a.must("POST", "/repositories/deleted/restore", repositoryadmin.RestoreRequest{Target: old, ID: page.Entries[0].ID, As: "oldest"}, &back)
	if !pulls(t, s, "oldest", "v1", layer) {
		t.Error("not the one with the number")
	}
	a.must("POST", "/repositories/deleted/purge", repositoryadmin.PurgeRequest{Target: old}, nil)
	if _, err := s.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("oldest"), Force: true}); err != nil {
		t.Fatal(err)
	}
	clk.Advance(2*24*time.Hour + time.Second)
	eventually(t, clk, "the window has no end", func() bool {
		page = repositoryadmin.Page{}
		a.must("POST", "/repositories/deleted/list", repositoryadmin.ListRequest{}, &page)
		return len(page.Entries) == 0
	})
	clk.Advance(24 * time.Hour)
	eventually(t, clk, "the bytes stay", func() bool { return checked(t, s) == app.FsckSum{} })
}

func TestDeletionProtectionByAPI(t *testing.T) {
	s, a := startAdmin(t)
	ctx := t.Context()
	s.CreateRepository(t, "app")
	remove := func() error {
		_, err := s.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true})
		return err
	}
	target := repositoryadmin.Target{Repository: "app"}
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "set", Name: "deletion-protection", Value: "true"}, nil)
	a.refused("its value is true or false", "POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "set", Name: "deletion-protection", Value: "on"})
	a.refused("unknown change", "POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "put"})
	a.refused("no name of a repository", "POST", "/repositories/settings", repositoryadmin.SettingRequest{Do: "get"})
	var refused *types.InvalidParameterException
	if err := remove(); !errors.As(err, &refused) || !strings.Contains(*refused.Message, "berth repository settings set deletion-protection false --repository app") {
		t.Errorf("%v", err)
	}
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "unset", Name: "deletion-protection"}, nil)

	// By a resource tag.
	arn := "arn:aws:ecr:us-east-1:000000000000:repository/app"
	tag := func(key, value string) error {
		_, err := s.ECR.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: &key, Value: &value}}})
		return err
	}
	var invalid *types.InvalidTagParameterException
	for key, value := range map[string]string{"berth:deletion-protection": "yes", "berth:recovery-window": "400d", "berth:typo": "true", "Berth:Deletion-Protection": "true"} {
		if err := tag(key, value); !errors.As(err, &invalid) || !strings.Contains(*invalid.Message, key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
	if _, err := s.ECR.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("other"), Tags: []types.Tag{{Key: aws.String("berth:typo"), Value: aws.String("true")}}}); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	if err := tag("berth:deletion-protection", "true"); err != nil {
		t.Fatal(err)
	}
	if err := remove(); !errors.As(err, &refused) || !strings.Contains(*refused.Message, "resource tag 'berth:deletion-protection'") {
		t.Errorf("%v", err)
	}
	if _, err := s.ECR.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"berth:deletion-protection"}}); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
}

// userOf makes a user with one policy and returns a client of its own.
func userOf(t *testing.T, s *apptest.Server, user, policy string) *ecr.Client {
	t.Helper()
	o := s.ECR.Options()
	identities := iam.New(iam.Options{BaseEndpoint: &s.URL, Region: "us-east-1", RetryMaxAttempts: 1, Credentials: o.Credentials, HTTPClient: o.HTTPClient})
	if _, err := identities.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &user}); err != nil {
		t.Fatal(err)
	}
	if _, err := identities.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	key, err := identities.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
	if err != nil {
		t.Fatal(err)
	}
	return apptest.ClientOf(s.URL, "us-east-1", *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey)
}

// TestImageTagCondition: the condition key ecr:ImageTag, by API and registry.
func TestImageTagCondition(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	ctx := t.Context()
	s.CreateRepository(t, "app")
	// May do all but what is about a tag that begins with prod.
	guarded := userOf(t, s, "guarded", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ecr:*","Resource":"*"},
		{"Effect":"Deny","Action":["ecr:PutImage","ecr:BatchDeleteImage"],"Resource":"*","Condition":{"ForAnyValue:StringLike":{"ecr:ImageTag":"prod*"}}}]}`)
	// May do what is about tags that begin with dev, and nothing without a tag.
	dev := userOf(t, s, "dev", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","NotAction":["ecr:PutImage","ecr:BatchDeleteImage"],"Resource":"*"},
		{"Effect":"Allow","Action":["ecr:PutImage","ecr:BatchDeleteImage"],"Resource":"*",
		 "Condition":{"ForAllValues:StringLike":{"ecr:ImageTag":"dev*"},"Null":{"ecr:ImageTag":"false"}}}]}`)
	plain := userOf(t, s, "plain", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`)

	// push has root put the tags on an image, another one for each layer.
	push := func(layer string, tags ...string) (d, body string) {
		t.Helper()
		for _, tag := range tags {
			d = apptest.PushImage(t, s.URL, s.Authorization(t), "app", tag, nil, []byte(layer)).String()
		}
		out, err := s.ECR.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &d}}})
		if err != nil {
			t.Fatal(err)
		}
		return d, *out.Images[0].ImageManifest
	}
	byTag := func(tags ...string) (ids []types.ImageIdentifier) {
		for _, tag := range tags {
			ids = append(ids, types.ImageIdentifier{ImageTag: &tag})
		}
		return ids
	}
	byDigest := func(d string) types.ImageIdentifier { return types.ImageIdentifier{ImageDigest: &d} }
	denied := func(what string, err error, want bool) {
		t.Helper()
		if got := err != nil && strings.Contains(err.Error(), "AccessDeniedException"); got != want || err != nil && !got {
			t.Errorf("%s: %v, want denied %v", what, err, want)
		}
	}
	remove := func(client *ecr.Client, ids ...types.ImageIdentifier) error {
		_, err := client.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: ids})
		return err
	}
	put := func(client *ecr.Client, body string, tag *string) error {
		_, err := client.PutImage(ctx, &ecr.PutImageInput{RepositoryName: aws.String("app"), ImageManifest: &body, ImageTag: tag})
		return err
	}
	one, manifest := push("one", "prod-1", "also")
	two, other := push("two", "dev-1")

	denied("a prod tag by API", put(guarded, other, aws.String("prod-1")), true)
	denied("another tag by API", put(guarded, other, aws.String("dev-2")), false)
	denied("no tag by API", put(guarded, manifest+"\n", nil), false)
	denied("a dev tag by API", put(dev, other, aws.String("dev-3")), false)
	denied("no dev tag by API", put(dev, other, aws.String("rel-3")), true)
	denied("none at all by API", put(dev, other, nil), true)
	denied("delete a prod tag", remove(guarded, byTag("prod-1")...), true)
	denied("delete a prod tag among others", remove(guarded, byTag("dev-2", "prod-1")...), true)
	denied("delete the digest of a prod tag", remove(guarded, byDigest(one)), true)
	denied("delete the digest of a prod tag behind another", remove(guarded, byDigest(two), byDigest(one)), true)
	denied("delete a tag that is not there", remove(guarded, byTag("prod-none")...), true)
	denied("delete a digest that is not there", remove(guarded, byDigest("sha256:"+strings.Repeat("0", 64))), false)
	denied("delete another tag of the image with a prod tag", remove(guarded, byTag("also")...), false)
	denied("delete another tag with the digest", remove(dev, types.ImageIdentifier{ImageTag: aws.String("dev-2"), ImageDigest: &two}), false)
	denied("delete a digest with dev tags only", remove(dev, byDigest(two)), false)
	denied("delete a digest with another tag", remove(dev, byDigest(one)), true)

	// The same through the registry.
	do := func(client *ecr.Client, method, reference, body string) int {
		t.Helper()
		answer, _ := apptest.Do(t, method, s.URL+"/v2/app/manifests/"+reference, apptest.Authorization(t, client), []byte(body), map[string]string{"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
		return answer.StatusCode
	}
	two, other = push("three", "rel-1")
	for _, c := range []struct {
		client                  *ecr.Client
		method, reference, body string
		want                    int
	}{
		{guarded, "PUT", "prod-1", other, 403},
		{guarded, "PUT", "rel-2", other, 201},
		{guarded, "PUT", two, other, 201},
		{guarded, "PUT", two + "?tag=rel-3&tag=rel-4", other, 201},
		{guarded, "PUT", two + "?tag=rel-5&tag=prod-1", other, 403},
		{dev, "PUT", two, other, 403},
		{dev, "PUT", "dev-9", other, 201},
		{dev, "DELETE", two, "", 403},
		{guarded, "DELETE", "prod-1", "", 403},
		{guarded, "DELETE", one, "", 403},
		{guarded, "DELETE", "rel-4", "", 202},
		{guarded, "DELETE", two, "", 202},
		{guarded, "DELETE", "sha256:" + strings.Repeat("0", 64), "", 404},
		{plain, "PUT", "prod-2", manifest, 201},
		{plain, "DELETE", one, "", 202},
	} {
		if got := do(c.client, c.method, c.reference, c.body); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.reference, got, c.want)
		}
	}
}

func TestTokenLife(t *testing.T) {
	s, a := startAdmin(t)
	life := func() time.Duration {
		t.Helper()
		out, err := s.ECR.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(*out.AuthorizationData[0].ExpiresAt).Round(time.Minute)
	}
	if got := life(); got != 12*time.Hour {
		t.Error(got)
	}
	set := func(d time.Duration) {
		a.must("POST", "/accounts/000000000000/token-life", identityadmin.TokenLifeRequest{Life: d}, nil)
	}
	set(10 * time.Minute)
	if got := life(); got != 10*time.Minute {
		t.Error(got)
	}
	var account identityadmin.AccountDetail
	a.must("GET", "/accounts/000000000000", nil, &account)
	if account.TokenLife != 10*time.Minute {
		t.Errorf("%+v", account)
	}
	a.refused("5m0s to 12h0m0s", "POST", "/accounts/000000000000/token-life", identityadmin.TokenLifeRequest{Life: time.Minute})
	a.refused("5m0s to 12h0m0s", "POST", "/accounts/000000000000/token-life", identityadmin.TokenLifeRequest{Life: 13 * time.Hour})
	a.refused("cannot be found", "POST", "/accounts/"+string(name.AccountID("999999999999"))+"/token-life", identityadmin.TokenLifeRequest{})
	set(0)
	if got := life(); got != 12*time.Hour {
		t.Error(got)
	}
}

// TestSettingsOfLifecycles: the settings reach lifecycle policies, and what these
// delete is kept.
func TestSettingsOfLifecycles(t *testing.T) {
	s, a, clk := startClocked(t)
	ctx := t.Context()
	s.CreateRepository(t, "app")
	target := repositoryadmin.Target{Repository: "app"}
	policy := `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"tagged","tagPatternList":["v*"]},"action":{"type":"retain"}},
		{"rulePriority":2,"selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":1},"action":{"type":"expire"}}]}`
	put := func() error {
		_, err := s.ECR.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("app"), LifecyclePolicyText: &policy})
		return err
	}
	var invalid *types.InvalidParameterException
	if err := put(); !errors.As(err, &invalid) {
		t.Errorf("the extended grammar without the setting: %v", err)
	}
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "set", Name: "lifecycle-extended", Value: "true"}, nil)
	a.must("POST", "/repositories/settings", repositoryadmin.SettingRequest{Target: target, Do: "set", Name: "recovery-window", Value: "30d"}, nil)
	if err := put(); err != nil {
		t.Fatal(err)
	}
	kept := apptest.PushImage(t, s.URL, s.Authorization(t), "app", "v1", nil, []byte("kept"))
	gone := apptest.PushImage(t, s.URL, s.Authorization(t), "app", "old", nil, []byte("gone"))
	clk.Advance(49 * time.Hour)
	var page repositoryadmin.Page
	eventually(t, clk, "nothing expires", func() bool {
		a.must("POST", "/repositories/deleted/list", repositoryadmin.ListRequest{Target: target, Images: true}, &page)
		return len(page.Entries) > 0
	})
	if len(page.Entries) != 1 || string(page.Entries[0].Digest) != gone.String() || !pulls(t, s, "app", kept.String()) {
		t.Errorf("%+v", page)
	}
}
