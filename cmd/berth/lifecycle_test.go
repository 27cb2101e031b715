package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// simulate runs a command line that needs no server.
func simulate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	parser, err := newParser(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"lifecycle", "simulate"}, args...))
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLifecycleDocument holds docs/lifecycle.md to its word: its example is made
// of the files in testdata, and prints what stands there.
func TestLifecycleDocument(t *testing.T) {
	page := readFile(t, "../../docs/lifecycle.md")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"lifecycle-want.json", nil},
		{"lifecycle-want-multi-arch.json", []string{"--multi-arch"}},
	} {
		out, err := simulate(t, append(c.args, "--policy", "testdata/lifecycle-policy.json", "--images", "testdata/lifecycle-images.json", "--now", "2026-11-28T12:00:00Z")...)
		if err != nil {
			t.Fatal(err)
		}
		if want := readFile(t, filepath.Join("testdata", c.want)); out != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.want, out, want)
		}
	}
	for _, file := range []string{"lifecycle-policy.json", "lifecycle-images.json", "lifecycle-want.json"} {
		if block := "```json\n" + readFile(t, filepath.Join("testdata", file)) + "```"; !strings.Contains(page, block) {
			t.Errorf("docs/lifecycle.md does not show %s as it is", file)
		}
	}
	policies := 0
	for _, part := range strings.Split(page, "```json\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		if strings.Contains(block, `"rules"`) {
			policies++
			if _, err := simulate(t, "--extended", "--policy", write(t, block), "--images", "testdata/lifecycle-images.json"); err != nil {
				t.Errorf("%v\n%s", err, block)
			}
		}
	}
	if policies < 4 {
		t.Errorf("docs/lifecycle.md shows only %d policies", policies)
	}
}

// digestOf is a digest whose hex is all one digit.
func digestOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// imagesFile writes a file of image entries: members without their braces.
func imagesFile(t *testing.T, entries ...string) string {
	t.Helper()
	return write(t, "["+"{"+strings.Join(entries, "},\n{")+"}"+"]")
}

const (
	expireUntagged = `{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}}]}`
	untagBuilds    = `{"rules": [{"rulePriority": 5, "selection": {"tagStatus": "tagged", "tagPrefixList": ["sha-"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}, "action": {"type": "untag"}}]}`
	expireArchived = `{"rules": [{"rulePriority": 7, "selection": {"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90}, "action": {"type": "expire"}}]}`
)

func TestLifecycleSimulate(t *testing.T) {
	const now = "2026-11-28T12:00:00Z"
	one, two, three := digestOf("1"), digestOf("2"), digestOf("3")
	for _, c := range []struct {
		about, policy string
		images        []string
		flags         []string
		want          []map[string]any
	}{
		{
			"times in each form, exactly at the limit and past it", expireUntagged,
			[]string{
				`"imageDigest": "` + one + `", "imagePushedAt": "2026-11-14T13:00:00+01:00"`,
				`"imageDigest": "` + two + `", "imagePushedAt": "2026-11-14T12:59:59.999+0100"`,
				`"imageDigest": "` + three + `", "imagePushedAt": 1794657599.999`,
				`"imageDigest": "` + digestOf("4") + `", "imagePushedAt": 1794657600`,
				`"imageDigest": "` + digestOf("5") + `", "imagePushedAt": 1.7946575E9, "unknown": {"a": null}`,
				`"imageDigest": "` + digestOf("6") + `", "imageTags": [], "lastRecordedPullTime": null, "imagePushedAt": "2026-11-01T00:00:00Z"`,
			}, nil,
			[]map[string]any{
				{"imageDigest": digestOf("6"), "imageTags": []any{}, "rulePriority": 1.0, "action": "expire"},
				{"imageDigest": digestOf("5"), "imageTags": []any{}, "rulePriority": 1.0, "action": "expire"},
				{"imageDigest": two, "imageTags": []any{}, "rulePriority": 1.0, "action": "expire"},
				{"imageDigest": three, "imageTags": []any{}, "rulePriority": 1.0, "action": "expire"},
			},
		},
		{
			"children are refused", expireUntagged,
			[]string{
				`"imageDigest": "` + one + `", "imagePushedAt": 0`,
				`"imageDigest": "` + two + `", "imageTags": ["v1"], "imagePushedAt": 0, "children": ["` + one + `", "` + three + `"]`,
			}, nil,
			[]map[string]any{{"imageDigest": one, "imageTags": []any{}, "rulePriority": 1.0, "action": "expire", "blocked": "ImageReferencedByManifestList"}},
		},
		{
			"with --multi-arch they belong to their index", expireUntagged,
			[]string{
				`"imageDigest": "` + one + `", "imagePushedAt": 0`,
				`"imageDigest": "` + two + `", "imageTags": ["v1"], "imagePushedAt": 0, "children": ["` + one + `"]`,
			}, []string{"--multi-arch"},
			[]map[string]any{},
		},
		{
			"referrers go with their subject", expireUntagged,
			[]string{
				`"imageDigest": "` + one + `", "imageTags": ["v1"], "imagePushedAt": 0`,
				`"imageDigest": "` + two + `", "imagePushedAt": 0, "subjectManifestDigest": "` + one + `"`,
			}, nil,
			[]map[string]any{},
		},
		{
			"the extended grammar, with the tags removed", untagBuilds,
			[]string{`"imageDigest": "` + one + `", "imageTags": ["v1", "sha-1", "sha-2"], "imagePushedAt": 0`}, []string{"--extended"},
			[]map[string]any{{"imageDigest": one, "imageTags": []any{"v1", "sha-1", "sha-2"}, "rulePriority": 5.0, "action": "untag", "removedTags": []any{"sha-1", "sha-2"}}},
		},
		{
			"statuses", expireArchived,
			[]string{
				`"imageDigest": "` + one + `", "imageStatus": "ARCHIVED", "imagePushedAt": 0, "lastArchivedAt": "2026-08-30T11:00:00Z"`,
				`"imageDigest": "` + two + `", "imageStatus": "ACTIVATING", "imagePushedAt": 0, "lastArchivedAt": 1`,
				`"imageDigest": "` + three + `", "imageStatus": "ACTIVE", "imagePushedAt": 0, "lastArchivedAt": 1, "lastActivatedAt": 2`,
			}, nil,
			[]map[string]any{{"imageDigest": one, "imageTags": []any{}, "rulePriority": 7.0, "action": "expire"}},
		},
	} {
		out, err := simulate(t, append(c.flags, "--policy", write(t, c.policy), "--images", imagesFile(t, c.images...), "--now", now)...)
		if err != nil {
			t.Errorf("%s: %v", c.about, err)
			continue
		}
		var got []map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\ngot  %v\nwant %v", c.about, err, got, c.want)
		}
	}
}

func TestLifecycleSimulateByTheClock(t *testing.T) {
	at := func(ago time.Duration) string { return time.Now().Add(-ago).Format(time.RFC3339) }
	out, err := simulate(t, "--policy", write(t, expireUntagged), "--images", imagesFile(t,
		`"imageDigest": "`+digestOf("1")+`", "imagePushedAt": "`+at(14*24*time.Hour-time.Minute)+`"`,
		`"imageDigest": "`+digestOf("2")+`", "imagePushedAt": "`+at(14*24*time.Hour+time.Minute)+`"`))
	if err != nil || strings.Count(out, "imageDigest") != 1 || !strings.Contains(out, digestOf("2")) {
		t.Errorf("%s %v", out, err)
	}
}

func TestLifecycleSimulateStandardInput(t *testing.T) {
	was := os.Stdin
	t.Cleanup(func() { os.Stdin = was })
	for _, c := range []struct{ policy, images, stdin string }{
		{"-", write(t, "[]"), expireUntagged},
		{write(t, expireUntagged), "-", `{"imageDetails": []}`},
	} {
		f, err := os.Open(write(t, c.stdin))
		if err != nil {
			t.Fatal(err)
		}
		os.Stdin = f
		out, err := simulate(t, "--policy", c.policy, "--images", c.images)
		if err != nil || out != "[]\n" {
			t.Errorf("%q %v", out, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLifecycleSimulateRefuses(t *testing.T) {
	one := `"imageDigest": "` + digestOf("1") + `", "imagePushedAt": 0`
	policy := write(t, expireUntagged)
	none := write(t, "[]")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--policy", policy}, "--images"},
		{[]string{"--policy", "-", "--images", "-"}, "only one of --policy and --images can be standard input"},
		{[]string{"--policy", policy, "--images", none, "--now", "yesterday"}, "--now yesterday: want a time such as"},
		{[]string{"--policy", "no-such-file", "--images", none}, "--policy: the policy cannot be read: open no-such-file"},
		{[]string{"--policy", policy, "--images", "no-such-file"}, "--images no-such-file: open no-such-file"},
		{[]string{"--policy", write(t, "{}"), "--images", none}, `policy.json: Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: object has missing required properties (["rules"])'`},
		{[]string{"--policy", write(t, untagBuilds), "--images", none}, "it uses Berth's own additions, which --extended accepts"},
		{[]string{"--policy", policy, "--images", write(t, " ")}, "the file is empty; it has to hold what aws ecr describe-images prints"},
		{[]string{"--policy", policy, "--images", write(t, "{")}, "this is not what aws ecr describe-images --output json prints"},
		{[]string{"--policy", policy, "--images", write(t, "[] []")}, "this is not what aws ecr describe-images --output json prints"},
		{[]string{"--policy", policy, "--images", write(t, `{"images": []}`)}, `there is no list "imageDetails"`},
		{[]string{"--policy", policy, "--images", imagesFile(t, one, `"imagePushedAt": 0`)}, `entry 2: imageDigest is "", which is no digest`},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": "sha256:12"`)}, `entry 1: imageDigest is "sha256:12", which is no digest; it has to be sha256: and 64 digits`},
		{[]string{"--policy", policy, "--images", imagesFile(t, one+`, "subjectManifestDigest": "x"`)}, `entry 1: subjectManifestDigest is "x"`},
		{[]string{"--policy", policy, "--images", imagesFile(t, one+`, "children": ["x"]`)}, `entry 1: children is "x"`},
		{[]string{"--policy", policy, "--images", imagesFile(t, one, one)}, "entry 2: the image " + digestOf("1") + " is also entry 1; remove one of them"},
		{[]string{"--policy", policy, "--images", imagesFile(t, one+`, "imageStatus": "GONE"`)}, `entry 1: imageStatus is "GONE"; it has to be ACTIVE, ARCHIVED or ACTIVATING`},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": "`+digestOf("1")+`"`)}, "entry 1: imagePushedAt is missing"},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": "`+digestOf("1")+`", "imagePushedAt": "lately"`)}, `entry 1: "lately" is no time; it has to be as in "2026-11-28T12:00:00+01:00", or seconds since 1970`},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": "`+digestOf("1")+`", "imagePushedAt": true`)}, "entry 1: true is no time"},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": "`+digestOf("1")+`", "imagePushedAt": 1e300`)}, "entry 1: 1e300 is no time"},
		{[]string{"--policy", policy, "--images", imagesFile(t, `"imageDigest": 1`)}, "entry 1: json: cannot unmarshal number"},
	} {
		out, err := simulate(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%s: %v, want %q\n%s", fmt.Sprint(c.args), err, c.want, out)
		}
	}
}
