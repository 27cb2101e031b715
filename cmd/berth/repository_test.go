package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/repositoryadmin"
	"github.com/berth-registry/berth/internal/config"
)

// startRegistry is start for tests that call the registry too.
func startRegistry(t *testing.T) (*apptest.Server, server) {
	t.Helper()
	data := ""
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { data, c.Listen = c.Data, "127.0.0.1:0" }})
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
	return s, server{t, data}
}

func TestRepositoryCommands(t *testing.T) {
	r, s := startRegistry(t)
	ctx := t.Context()
	r.CreateRepository(t, "team/app")
	like(t, s.berth("repository", "settings", "get", "--repository", "team/app"), `
		SETTING VALUE FROM
		deletion-protection false default
		recovery-window 0 default
		lifecycle-extended false default
		lifecycle-multi-arch false default`)
	like(t, s.berth("repository", "settings", "set", "recovery-window", "7d", "--repository", "team/app", "--account", "000000000000", "--region", "us-east-1"), `
		SETTING VALUE FROM
		deletion-protection false default
		recovery-window 7d setting
		lifecycle-extended false default
		lifecycle-multi-arch false default`)
	s.berth("repository", "settings", "set", "lifecycle-extended", "true", "--repository", "team/app")
	if out := s.berth("repository", "settings", "unset", "lifecycle-extended", "--repository", "team/app"); strings.Contains(out, "true") {
		t.Error(out)
	}
	s.refused("from 1h to 365d", "repository", "settings", "set", "recovery-window", "1m", "--repository", "team/app")
	s.refused("there is no setting", "repository", "settings", "unset", "x", "--repository", "team/app")
	s.refused("does not exist", "repository", "settings", "get", "--repository", "team/app", "--region", "eu-west-1")
	s.refused("--repository", "repository", "settings", "get")

	like(t, s.berth("repository", "deleted", "list"), `REPOSITORY IMAGE TAGS DELETED KEPT UNTIL NUMBER`)
	if out := s.berth("repository", "deleted", "list", "--json"); out != "[]\n" {
		t.Error(out)
	}
	d := apptest.PushImage(t, r.URL, r.Authorization(t), "team/app", "v1", nil, []byte("one")).String()
	apptest.PushImage(t, r.URL, r.Authorization(t), "team/app", "latest", nil, []byte("one"))
	remove := func(id types.ImageIdentifier) {
		t.Helper()
		if out, err := r.ECR.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("team/app"), ImageIds: []types.ImageIdentifier{id}}); err != nil || len(out.Failures) > 0 {
			t.Fatalf("%+v %v", out, err)
		}
	}
	remove(types.ImageIdentifier{ImageDigest: &d})
	like(t, s.berth("repository", "deleted", "list"), `
		REPOSITORY IMAGE TAGS DELETED KEPT UNTIL NUMBER
		team/app `+d+` latest,v1 ~[-0-9]{10} ~[0-9:]{5} ~[-0-9]{10} ~[0-9:]{5} ~[0-9]+`)
	next := apptest.PushImage(t, r.URL, r.Authorization(t), "team/app", "latest", nil, []byte("two")).String()
	like(t, s.berth("repository", "deleted", "restore", "--repository", "team/app", "--image", "v1"), `
		Restored `+d+` with the tags v1.
		The tag latest stays on `+next+`: --move-tags would move it.`)
	remove(types.ImageIdentifier{ImageDigest: &d})
	var answer repositoryadmin.RestoreAnswer
	if err := json.Unmarshal([]byte(s.berth("repository", "deleted", "restore", "--repository", "team/app", "--image", d, "--json")), &answer); err != nil ||
		len(answer.Images) != 1 || string(answer.Images[0].Digest) != d || len(answer.Images[0].Tags) != 1 {
		t.Errorf("%+v %v", answer, err)
	}
	s.refused("no deleted image", "repository", "deleted", "restore", "--repository", "team/app", "--image", d)
	s.refused("for an image", "repository", "deleted", "restore", "--repository", "team/app", "--move-tags")

	if _, err := r.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("team/app"), Force: true}); err != nil {
		t.Fatal(err)
	}
	like(t, s.berth("repository", "deleted", "list", "--repository", "team/app"), `
		REPOSITORY IMAGE TAGS DELETED KEPT UNTIL NUMBER
		team/app (the repository, with 2 images) - ~[-0-9]{10} ~[0-9:]{5} ~[-0-9]{10} ~[0-9:]{5} ~[0-9]+`)
	like(t, s.berth("repository", "deleted", "restore", "--repository", "team/app", "--as", "team/old"), `Restored the repository team/old. Images in it: 2.`)
	if _, err := r.ECR.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("team/old"), ImageIds: []types.ImageIdentifier{{ImageDigest: &d}}}); err != nil {
		t.Fatal(err)
	}
	like(t, s.berth("repository", "deleted", "purge", "--repository", "team/old", "--all-images"), `Purged team/old `+d)
	s.refused("no deleted image", "repository", "deleted", "purge", "--repository", "team/old", "--all-images")
	s.refused("not both", "repository", "deleted", "purge", "--repository", "team/old", "--all-images", "--image", d)
	if _, err := r.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("team/old"), Force: true}); err != nil {
		t.Fatal(err)
	}
	like(t, s.berth("repository", "deleted", "purge", "--repository", "team/old"), `Purged team/old (the repository, with 1 image)`)
	s.refused("there is no deleted repository team/old", "repository", "deleted", "restore", "--repository", "team/old")
}

func TestTokenLifeCommand(t *testing.T) {
	s := start(t)
	like(t, s.berth("account", "token-life", "000000000000", "90m"), `Authorization tokens of account 000000000000 live 1h30m0s from now on.`)
	if out := s.berth("account", "show", "000000000000"); !strings.Contains(out, "1h30m0s") {
		t.Error(out)
	}
	like(t, s.berth("account", "token-life", "000000000000", "default"), `Authorization tokens of account 000000000000 live 12h0m0s from now on.`)
	for _, life := range []string{"0s", "long"} {
		s.refused("is no time", "account", "token-life", "000000000000", life)
	}
	s.refused("5m0s to 12h0m0s", "account", "token-life", "000000000000", "1m")
	s.refused("cannot be found", "account", "token-life", "999999999999", "1h")
}
