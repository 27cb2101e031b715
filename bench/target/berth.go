package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settings are those in which every Berth here differs from its defaults: the benchmark
// fills repositories beyond ECR's quotas. Rates need no change, there are none unless
// they are set. Public registries, which take an address too, are not measured.
const settings = `limits:
  images_per_repository: 10000000
  tags_per_image: 10000000
`

// Berth is a Berth with SQLite and files under a name of its own: binary is its path,
// flags are further flags of berth serve.
func Berth(name, binary string, flags ...string) Target {
	return kind(name, true, func(ctx context.Context, s *Server, dir string) error {
		return startBerth(ctx, s, dir, binary, nil, flags)
	})
}

// scaleOut is a Berth with PostgreSQL and an S3 server.
func scaleOut(tools, binary string) Target {
	return kind("berth-pg-s3", true, func(ctx context.Context, s *Server, dir string) error {
		database, err := s.startPostgres(ctx, dir)
		if err != nil {
			return err
		}
		bucket, err := s.startBucket(ctx, tools, dir)
		if err != nil {
			return err
		}
		return startBerth(ctx, s, dir, binary, append(database, bucket...), nil)
	})
}

func startBerth(ctx context.Context, s *Server, dir, binary string, env, flags []string) error {
	listen, err1 := freeAddress()
	public, err2 := freeAddress()
	admin, err3 := freeAddress()
	binary, err4 := filepath.Abs(binary)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("berth is not there; run make build: %w", err)
	}
	data := filepath.Join(dir, "data")
	s.Base, s.Host, s.Admin, s.path = "http://"+listen, listen, "http://"+admin, "/v2/"
	s.Config, s.config = settings, filepath.Join(dir, "berth.yaml")
	s.program = program{
		path: binary, dir: dir, log: filepath.Join(dir, "berth.log"),
		args: append([]string{"serve"}, flags...),
		env: environment(dir, append(env, "BERTH_CONFIG="+s.config, "BERTH_DATA="+data,
			"BERTH_LISTEN="+listen, "BERTH_PUBLIC_LISTEN="+public, "BERTH_ADMIN_LISTEN="+admin)...),
	}
	version, err := output(ctx, s.program.env, binary, "version")
	if err != nil {
		return err
	}
	s.Version = strings.TrimSpace(strings.TrimPrefix(version, "berth "))
	if _, err := s.start(ctx); err != nil {
		return err
	}
	return s.login(ctx)
}

// login learns the root key and asks for the authorization of registry clients.
func (s *Server) login(ctx context.Context) error {
	text, err := output(ctx, s.program.env, s.program.path, "env")
	if err != nil {
		return err
	}
	vars := exports(text)
	api := &API{Endpoint: s.Base, Region: vars["AWS_REGION"], AccessKey: vars["AWS_ACCESS_KEY_ID"], SecretKey: vars["AWS_SECRET_ACCESS_KEY"]}
	if api.Region == "" || api.AccessKey == "" || api.SecretKey == "" {
		return errors.New("berth env printed no region or key")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, api.Endpoint+"/", strings.NewReader("{}"))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	body, err := signed(ctx, r, "{}", "ecr", api)
	if err != nil {
		return err
	}
	var answer struct {
		AuthorizationData []struct {
			AuthorizationToken string `json:"authorizationToken"`
		} `json:"authorizationData"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.AuthorizationData) != 1 {
		return fmt.Errorf("GetAuthorizationToken answered %d tokens: %w", len(answer.AuthorizationData), err)
	}
	s.API, s.Authorization = api, "Basic "+answer.AuthorizationData[0].AuthorizationToken
	_, err = s.await(ctx, time.Now()) // with the authorization
	return err
}

// exports reads the lines of the form "export NAME='value'".
func exports(text string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(rest, "=")
		vars[name] = strings.Trim(value, "'")
	}
	return vars
}

// do sends a request and returns the body of an answer with status 200.
func do(r *http.Request) (_ []byte, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startTimeout}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s\n%s", r.Method, r.URL, answer.Status, body)
	}
	return body, err
}
