package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app"
)

type envCommand struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the server (default ./berth-data)."`
}

// Run prints shell commands that point AWS clients at the server.
func (c envCommand) Run(ctx context.Context) error {
	info, err := app.ReadServerInfo(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no server has run on %s yet; start one with: berth serve --data %s", c.Data, c.Data)
	}
	if err != nil {
		return fmt.Errorf("what the server wrote about itself cannot be read: %w", err)
	}
	id, secret, err := readCredentials(app.CredentialsFile(c.Data))
	if err != nil {
		return err
	}
	for _, v := range [][2]string{
		{"AWS_ENDPOINT_URL", info.Endpoint}, {"AWS_ACCESS_KEY_ID", id}, {"AWS_SECRET_ACCESS_KEY", secret},
		{"AWS_REGION", string(info.Region)}, {"AWS_DEFAULT_REGION", string(info.Region)},
	} {
		fmt.Printf("export %s=%s\n", v[0], shellQuote(v[1]))
	}
	fmt.Println("unset AWS_SESSION_TOKEN AWS_PROFILE")
	if old := oldAWSCLI(ctx); old != "" {
		fmt.Printf("# aws-cli %s does not know AWS_ENDPOINT_URL (2.13 and 1.29 do), so give it the flag.\n", old)
		fmt.Println(`aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }`)
	}
	return nil
}

// readCredentials reads the default profile of an AWS credentials file.
func readCredentials(path string) (id, secret string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", fmt.Errorf("the credentials file cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "aws_access_key_id":
			id = strings.TrimSpace(value)
		case "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", err
	}
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("%s holds no access key", path)
	}
	return id, secret, nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// oldAWSCLI returns the version of the AWS CLI on the PATH when it is one that
// does not obey AWS_ENDPOINT_URL, else "".
func oldAWSCLI(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "aws", "--version").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return ""
	}
	if err != nil { // too busy to say; the flag does no harm to a newer one
		return "of this version, which it does not tell, perhaps"
	}
	m := regexp.MustCompile(`aws-cli/((\d+)\.(\d+)\.\d+)`).FindSubmatch(out)
	if m == nil {
		return ""
	}
	major, errMajor := strconv.Atoi(string(m[2]))
	minor, errMinor := strconv.Atoi(string(m[3]))
	if errMajor != nil || errMinor != nil {
		return ""
	}
	if major == 2 && minor < 13 || major == 1 && minor < 29 {
		return string(m[1])
	}
	return ""
}
