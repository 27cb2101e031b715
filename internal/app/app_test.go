package app_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

func TestRegistriesOfRegionsAreApart(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { c.Regions = []name.Region{"eu-west-1"} }})
	west := apptest.Client(s.URL, "eu-west-1")
	made, err := west.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("only-west")})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	if got := *made.Repository.RepositoryUri; got != "000000000000.dkr.ecr.eu-west-1.localhost:"+port+"/only-west" {
		t.Errorf("repositoryUri %s", got)
	}
	if got := *made.Repository.RepositoryArn; got != "arn:aws:ecr:eu-west-1:000000000000:repository/only-west" {
		t.Errorf("repositoryArn %s", got)
	}
	var missing *types.RepositoryNotFoundException
	if _, err := s.ECR.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"only-west"}}); !errors.As(err, &missing) {
		t.Errorf("in the other region: %v", err)
	}
	//lint:ignore SA1019 older clients still send it, and the answer has to have an entry for each
	tokens, err := west.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{RegistryIds: []string{"000000000000", "123456789012"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(tokens.AuthorizationData) != 2 || *tokens.AuthorizationData[1].ProxyEndpoint != "http://123456789012.dkr.ecr.eu-west-1.localhost:"+port {
		t.Errorf("%+v", tokens.AuthorizationData)
	}
	westToken := "Basic " + *tokens.AuthorizationData[0].AuthorizationToken
	host := map[string]string{"Host": "000000000000.dkr.ecr.eu-west-1.localhost:" + port}
	apptest.PushImage(t, s.URL, westToken, "only-west", "v1", host, []byte("layer"))

	for what, c := range map[string]struct {
		token, host, path string
		status            int
	}{
		"the region's token on its host":       {westToken, host["Host"], "/v2/only-west/manifests/v1", 200},
		"the region's token elsewhere":         {westToken, "localhost:" + port, "/v2/", 401},
		"another region's token":               {s.Authorization(t), host["Host"], "/v2/", 401},
		"the default registry has it not":      {s.Authorization(t), "localhost:" + port, "/v2/only-west/manifests/v1", 404},
		"a region that is not served":          {westToken, "000000000000.dkr.ecr.eu-west-9.localhost", "/v2/", 404},
		"another account's registry is denied": {westToken, "123456789012.dkr.ecr.eu-west-1.localhost", "/v2/only-west/tags/list", 403},
		"an API's host has no registry":        {westToken, "api.ecr.eu-west-1.localhost", "/v2/", 404},
	} {
		answer, body := apptest.Do(t, http.MethodGet, s.URL+c.path, c.token, nil, map[string]string{"Host": c.host, "Accept": "*/*"})
		if answer.StatusCode != c.status {
			t.Errorf("%s: %s %s, want %d", what, answer.Status, body, c.status)
		}
	}
	if _, err := apptest.Client(s.URL, "ap-south-1").CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("ab")}); err == nil {
		t.Error("a repository was made in a region that is not served")
	}
}

func TestKeysHoldWhatTheySeal(t *testing.T) {
	clk := clock.NewFake(time.Now())
	s := apptest.Start(t, apptest.Options{Clock: clk})
	ctx := t.Context()
	kms := func(key string) *types.EncryptionConfiguration {
		return &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: aws.String(key)}
	}
	var refused *types.KmsException
	if _, err := s.ECR.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("none"), EncryptionConfiguration: kms("alias/none")}); !errors.As(err, &refused) || refused.KmsError == nil || *refused.KmsError != "NotFoundException" {
		t.Errorf("a key that is not there: %v", err)
	}
	key, err := s.App.ChangeKey(ctx, app.KeyRequest{Do: "create", Key: "alias/mine"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.ECR.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("sealed"), EncryptionConfiguration: kms("alias/mine")})
	if err != nil || !strings.HasSuffix(*made.Repository.EncryptionConfiguration.KmsKey, ":key/"+key.ID) {
		t.Fatalf("%+v %v", made, err)
	}
	token := s.Authorization(t)
	layer := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	d := apptest.PushImage(t, s.URL, token, "sealed", "v1", nil, layer)
	read := func() (manifest, blob int) {
		m, _ := apptest.Do(t, http.MethodGet, s.URL+"/v2/sealed/manifests/"+d.String(), token, nil, map[string]string{"Accept": "*/*"})
		b, _ := apptest.Do(t, http.MethodGet, s.URL+"/v2/sealed/blobs/"+digestOf(layer), token, nil, nil)
		return m.StatusCode, b.StatusCode
	}
	if m, b := read(); m != 200 || b != 200 {
		t.Errorf("at first: %d %d", m, b)
	}
	if _, err := s.App.ChangeKey(ctx, app.KeyRequest{Do: "rotate", Key: "alias/mine"}); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Minute)
	if m, b := read(); m != 200 || b != 200 {
		t.Errorf("after a rotation: %d %d", m, b)
	}
	if _, err := s.App.ChangeKey(ctx, app.KeyRequest{Do: "disable", Key: key.ID}); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Minute)
	if m, b := read(); m < 400 || b < 400 {
		t.Errorf("with the key disabled: %d %d", m, b)
	}
	if _, err := s.App.ChangeKey(ctx, app.KeyRequest{Do: "enable", Key: key.ID}); err != nil {
		t.Fatal(err)
	}
	if m, b := read(); m != 200 || b != 200 {
		t.Errorf("enabled again: %d %d", m, b)
	}
}

// fsck runs a check and returns the problems and the sum.
func fsck(t *testing.T, a *app.App) (problems []string, sum *app.FsckSum) {
	t.Helper()
	a.Fsck(t.Context(), func(l app.FsckLine) {
		if l.Error != "" {
			t.Errorf("the check failed: %s", l.Error)
		}
		if l.Problem != "" {
			problems = append(problems, l.Problem)
		}
		if l.Sum != nil {
			sum = l.Sum
		}
	})
	return problems, sum
}

func TestFsckFindsDamage(t *testing.T) {
	var data string
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { data = c.Data }})
	s.CreateRepository(t, "ab")
	token := s.Authorization(t)
	for i := range 4 {
		apptest.PushImage(t, s.URL, token, "ab", "v"+string(rune('0'+i)), nil, bytes.Repeat([]byte{byte(i)}, 100_000))
	}
	problems, sum := fsck(t, s.App)
	if len(problems) != 0 || sum == nil || sum.Layers != 5 || sum.Images != 4 || sum.Bytes < 400_000 {
		t.Fatalf("before any damage: %v %+v", problems, sum)
	}
	var objects []string
	err := filepath.WalkDir(filepath.Join(data, "blobs"), func(path string, e os.DirEntry, err error) error {
		if info, infoErr := e.Info(); err == nil && infoErr == nil && e.Type().IsRegular() && info.Size() > 50_000 {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil || len(objects) != 4 {
		t.Fatalf("%v %v", objects, err)
	}
	slices.Sort(objects)
	damage := func(path string, change func([]byte) []byte) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(objects[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	damage(objects[1], func(b []byte) []byte { return b[:len(b)-10] })
	if err := os.Remove(objects[2]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(objects[3]), "stray"), []byte("stray"), 0o600); err != nil {
		t.Fatal(err)
	}
	problems, _ = fsck(t, s.App)
	if len(problems) != 4 {
		t.Errorf("%d problems found, want 4:\n%s", len(problems), strings.Join(problems, "\n"))
	}
	for _, path := range objects[:3] {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, filepath.Base(path)) }) {
			t.Errorf("no problem names %s", path)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	first, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(app.CredentialsFile(cfg.Data))
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]os.FileMode{"": 0o700, "credentials": 0o600, "keyring.json": 0o600, "berth.db": 0o600} {
		info, err := os.Stat(filepath.Join(cfg.Data, file))
		if err != nil {
			t.Fatal(err)
		}
		if file != "" && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", file, info.Mode().Perm(), want)
		}
	}
	if _, err := app.New(t.Context(), cfg, app.Options{}); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second server on the same data: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(app.CredentialsFile(cfg.Data))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the credentials changed: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(cfg.Data, "keyring.json")); err != nil {
		t.Fatal(err)
	}
	if a, err := app.New(t.Context(), cfg, app.Options{}); err == nil {
		t.Errorf("started on a database without its keyring; closing: %v", a.Close())
	}
}

func TestRunDrains(t *testing.T) {
	cfg := config.Default()
	// A long path does not fit into a socket's address by itself.
	cfg.Data = filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	cfg.Listen = "127.0.0.1:0"
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = apptest.AccessKeyID, apptest.SecretAccessKey
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	up, ended := make(chan app.ServerInfo, 1), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(i app.ServerInfo) { up <- i }) }()
	var info app.ServerInfo
	select {
	case info = <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	if read, err := app.ReadServerInfo(cfg.Data); err != nil || read != info {
		t.Errorf("server.json says %+v, %v", read, err)
	}
	answer, err := app.AdminClient(cfg.Data).Get("http://berth/keys")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("the administration socket: %v %v", answer, err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	s := &apptest.Server{App: a, URL: info.Endpoint, ECR: apptest.Client(info.Endpoint, "us-east-1")}
	s.CreateRepository(t, "ab")
	token := s.Authorization(t)
	started, _ := apptest.Do(t, http.MethodPost, s.URL+"/v2/ab/blobs/uploads/", token, nil, nil)

	// A request is under way when the stop comes; it is finished all the same.
	body, feed := newSlowBody()
	patched := make(chan int, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.URL+path(started.Header.Get("Location")), body)
		if err != nil {
			patched <- -1
			return
		}
		r.Header.Set("Authorization", token)
		// The body is sent once the server asks for it: the request is under way.
		r.Header.Set("Expect", "100-continue")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			patched <- -2
			return
		}
		patched <- answer.StatusCode
		_ = answer.Body.Close() // the status is all that is wanted
	}()
	feed([]byte("first half, "))
	stop()
	deadline := time.Now().Add(10 * time.Second)
	for {
		// Once it drains, new connections are refused.
		if _, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(s.URL + "/healthz"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server goes on accepting connections")
		}
		time.Sleep(10 * time.Millisecond)
	}
	feed([]byte("second half"))
	feed(nil)
	if status := <-patched; status != http.StatusAccepted {
		t.Errorf("the request under way was answered %d", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := app.AdminClient(cfg.Data).Get("http://berth/keys"); !errors.Is(err, app.ErrNoServer) {
		t.Errorf("the administration socket of a stopped server: %v", err)
	}
}
