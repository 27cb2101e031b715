package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
)

type lifecycleCommand struct {
	Simulate lifecycleSimulate `cmd:"" help:"Print what a lifecycle policy would do to images, without a server."`
}

type lifecycleSimulate struct {
	Policy    string `required:"" placeholder:"FILE" help:"The lifecycle policy; - is standard input."`
	Images    string `required:"" placeholder:"FILE" help:"The images, as aws ecr describe-images prints them; - is standard input."`
	Now       string `placeholder:"TIME" help:"Time of the evaluation, such as 2026-11-28T12:00:00Z (default: this machine's clock)."`
	Extended  bool   `help:"Accept Berth's own additions to ECR's policies: retain, untag, and sinceImagePulled with expire."`
	MultiArch bool   `help:"Treat an index and its untagged children as one image."`
}

// Help explains the two files and the answer.
func (lifecycleSimulate) Help() string {
	return `Evaluates the policy as a server would, and prints a JSON array with one entry for
each image that a rule acts on, in the order of execution, oldest first. Nothing
is changed, and no server is asked. The exit status is 0 also when nothing is to
be done.

An entry has imageDigest, imageTags, rulePriority and action (expire, transition
or untag); targetStorageClass with transition; removedTags with untag; and blocked
with ImageReferencedByManifestList where the action will be refused, because an
index refers to the image.

The images are what this prints, or only the list in it:

  aws ecr describe-images --repository-name NAME --filter imageStatus=ANY

It does not tell what an index lists. Add the digests to the index's entry as
"children", where that matters.`
}

// blockedCode is the failure code of an action on an image that an index lists.
const blockedCode = "ImageReferencedByManifestList"

// simulatedAction is one entry of the answer.
type simulatedAction struct {
	ImageDigest        name.Digest        `json:"imageDigest"`
	ImageTags          []string           `json:"imageTags"`
	RulePriority       int64              `json:"rulePriority"`
	Action             rules.ActionType   `json:"action"`
	TargetStorageClass rules.StorageClass `json:"targetStorageClass,omitempty"`
	RemovedTags        []string           `json:"removedTags,omitempty"`
	Blocked            string             `json:"blocked,omitempty"`
}

// Run evaluates the policy and prints what it does.
func (c lifecycleSimulate) Run(out io.Writer) error {
	now := time.Now()
	if c.Now != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, c.Now); err != nil {
			return fmt.Errorf("--now %s: want a time such as 2026-11-28T12:00:00Z", c.Now)
		}
	}
	if c.Policy == "-" && c.Images == "-" {
		return errors.New("only one of --policy and --images can be standard input; give the other one's file")
	}
	text, err := readDocument(c.Policy)
	if err != nil {
		return fmt.Errorf("--policy: %w", err)
	}
	grammar := rules.ECR
	if c.Extended {
		grammar = rules.Extended
	}
	policy, err := rules.Parse(text, grammar, rules.Limits{})
	if err != nil {
		if _, extended := rules.Parse(text, rules.Extended, rules.Limits{}); extended == nil {
			return fmt.Errorf("--policy %s: %w; it uses Berth's own additions, which --extended accepts", c.Policy, err)
		}
		return fmt.Errorf("--policy %s: %w", c.Policy, err)
	}
	images, err := readImages(c.Images)
	if err != nil {
		return fmt.Errorf("--images %s: %w", c.Images, err)
	}
	actions := selection.Evaluate(policy, images, now, selection.Options{MultiArch: c.MultiArch})
	blocked := selection.Blocked(images, actions)
	answer := make([]simulatedAction, len(actions))
	for n, a := range actions {
		answer[n] = simulatedAction{
			ImageDigest: images[a.Image].Digest, ImageTags: append([]string{}, images[a.Image].Tags...),
			RulePriority: a.Rule, Action: a.Type, TargetStorageClass: a.Target, RemovedTags: a.Tags,
		}
		if blocked[n] != nil {
			answer[n].Blocked = blockedCode
		}
	}
	return console.JSON(out, answer)
}

// describedImage is an entry of what describe-images prints.
type describedImage struct {
	ImageDigest           string      `json:"imageDigest"`
	ImageTags             []string    `json:"imageTags"`
	ImagePushedAt         printedTime `json:"imagePushedAt"`
	LastRecordedPullTime  printedTime `json:"lastRecordedPullTime"`
	LastArchivedAt        printedTime `json:"lastArchivedAt"`
	LastActivatedAt       printedTime `json:"lastActivatedAt"`
	ImageStatus           string      `json:"imageStatus"`
	SubjectManifestDigest string      `json:"subjectManifestDigest"`
	Children              []string    `json:"children"`
}

// readImages reads what describe-images prints, or the list in it.
func readImages(path string) ([]selection.Image, error) {
	text, err := readAll(path)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New(`the file is empty; it has to hold what aws ecr describe-images prints`)
	}
	var entries []json.RawMessage
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = json.Unmarshal(text, &entries)
	} else {
		var answer struct {
			ImageDetails *[]json.RawMessage `json:"imageDetails"`
		}
		err = json.Unmarshal(text, &answer)
		if err == nil && answer.ImageDetails == nil {
			return nil, errors.New(`there is no list "imageDetails"; give what aws ecr describe-images prints, or only the list in it`)
		}
		if err == nil {
			entries = *answer.ImageDetails
		}
	}
	if err != nil {
		return nil, fmt.Errorf("this is not what aws ecr describe-images --output json prints: %w", err)
	}
	images := make([]selection.Image, len(entries))
	at := map[name.Digest]int{}
	for n, entry := range entries {
		if images[n], err = readImage(entry); err != nil {
			return nil, fmt.Errorf("entry %d: %w", n+1, err)
		}
		d := images[n].Digest
		if at[d] > 0 {
			return nil, fmt.Errorf("entry %d: the image %s is also entry %d; remove one of them", n+1, d, at[d])
		}
		at[d] = n + 1
	}
	return images, nil
}

func readImage(entry json.RawMessage) (selection.Image, error) {
	var in describedImage
	if err := json.Unmarshal(entry, &in); err != nil {
		return selection.Image{}, err
	}
	image := selection.Image{
		Tags: in.ImageTags, PushedAt: in.ImagePushedAt.Time, LastPulledAt: in.LastRecordedPullTime.Time,
		LastArchivedAt: in.LastArchivedAt.Time, LastActivatedAt: in.LastActivatedAt.Time,
	}
	var err error
	if image.Digest, err = readDigest("imageDigest", in.ImageDigest); err != nil {
		return image, err
	}
	if in.SubjectManifestDigest != "" {
		if image.Subject, err = readDigest("subjectManifestDigest", in.SubjectManifestDigest); err != nil {
			return image, err
		}
	}
	for _, child := range in.Children {
		d, err := readDigest("children", child)
		if err != nil {
			return image, err
		}
		image.Children = append(image.Children, d)
	}
	switch in.ImageStatus {
	case "", "ACTIVE":
	case "ARCHIVED":
		image.Status = selection.Archived
	case "ACTIVATING":
		image.Status = selection.Activating
	default:
		return image, fmt.Errorf("imageStatus is %q; it has to be ACTIVE, ARCHIVED or ACTIVATING", in.ImageStatus)
	}
	if image.PushedAt.IsZero() {
		return image, errors.New("imagePushedAt is missing; without it the image has no age")
	}
	return image, nil
}

func readDigest(member, text string) (name.Digest, error) {
	d, err := name.ParseDigest(text)
	if err != nil {
		return "", fmt.Errorf("%s is %q, which is no digest; it has to be sha256: and 64 digits of lower-case hex", member, text)
	}
	return d, nil
}

// readAll reads a file, or standard input.
func readAll(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path)
}

// printedTime is a time as the AWS CLI prints it: ISO 8601, or seconds since 1970
// with its cli_timestamp_format=wire. null is no time.
type printedTime struct{ time.Time }

// maxEpoch is the end of the year 9999.
const maxEpoch = 253402300799

// UnmarshalJSON reads the time.
func (t *printedTime) UnmarshalJSON(b []byte) error {
	text := string(b)
	switch {
	case text == "null":
		return nil
	case text[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
			if parsed, err := time.Parse(layout, s); err == nil {
				t.Time = parsed
				return nil
			}
		}
	default:
		seconds, err := strconv.ParseFloat(text, 64)
		if err == nil && math.Abs(seconds) <= maxEpoch {
			t.Time = time.UnixMicro(int64(math.Round(seconds * 1e6)))
			return nil
		}
	}
	return fmt.Errorf("%s is no time; it has to be as in \"2026-11-28T12:00:00+01:00\", or seconds since 1970", text)
}
