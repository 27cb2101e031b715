package metering_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/app/metering"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/usage"
)

var _ metering.Counter = (*usage.Service)(nil)

// ledger writes down what is counted, without what is nothing.
type ledger struct{ lines []string }

func (l *ledger) add(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *ledger) Call(account name.AccountID, region name.Region, service, operation string) {
	l.add("call %s %s %s:%s", account, region, service, operation)
}
func (l *ledger) Pull(reg name.Registry, repo name.Repository) { l.add("pull %s %s", reg, repo) }
func (l *ledger) Push(reg name.Registry, repo name.Repository) { l.add("push %s %s", reg, repo) }
func (l *ledger) Transfer(reg name.Registry, repo name.Repository, sent, received int64) {
	if sent+received > 0 {
		l.add("moved %s %s %d %d", reg, repo, sent, received)
	}
}

func (l *ledger) wants(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(l.lines, want) {
		t.Errorf("%s counts as\n%s\nwant\n%s", what, strings.Join(l.lines, "\n"), strings.Join(want, "\n"))
	}
	l.lines = nil
}

const (
	us   = name.AccountID("111122223333")
	them = name.AccountID("444455556666")
)

var (
	here   = name.Registry{Account: us, Region: "us-east-1"}
	public = name.PublicRegistry(us)
	theirs = principal.Principal{Account: them, ARN: "arn:aws:iam::444455556666:root"}
)

// TestAWS: calls are the caller's, images and bytes the repository's.
func TestAWS(t *testing.T) {
	l := &ledger{}
	m := metering.New(l)
	seen := func(reg name.Registry, service, operation string, in, out any) aws.Observation {
		return aws.Observation{
			Call:  &aws.Call{Principal: theirs, Region: "us-east-1", Service: service, Operation: operation},
			Known: true, Status: 200, In: in, Out: out,
			Needs: []authz.Need{{Action: "sts:Other"}, {Action: service + ":" + operation, Resource: reg.RepositoryARN("team/app")}},
		}
	}
	m.AWS(seen(here, "ecr", "PutImage", nil, nil), 10, 20)
	l.wants(t, "a push", "call 444455556666 us-east-1 ecr:PutImage", "push 111122223333/us-east-1 team/app", "moved 111122223333/us-east-1 team/app 0 20")
	m.AWS(seen(public, "ecr-public", "PutImage", nil, nil), 10, 20)
	l.wants(t, "a public push", "call 444455556666 us-east-1 ecr-public:PutImage", "push 111122223333/public team/app", "moved 111122223333/public team/app 0 20")
	m.AWS(seen(here, "ecr", "BatchGetImage", nil, &ecr.BatchGetImageOutput{Images: make([]ecr.Image, 2)}), 10, 20)
	l.wants(t, "two images", "call 444455556666 us-east-1 ecr:BatchGetImage", "pull 111122223333/us-east-1 team/app", "pull 111122223333/us-east-1 team/app", "moved 111122223333/us-east-1 team/app 10 0")
	m.AWS(seen(here, "ecr", "BatchGetImage", nil, &ecr.BatchGetImageOutput{}), 10, 20)
	l.wants(t, "no image", "call 444455556666 us-east-1 ecr:BatchGetImage")
	m.AWS(seen(here, "ecr", "UploadLayerPart", &ecr.UploadLayerPartInput{LayerPartBlob: make([]byte, 7)}, nil), 10, 20)
	l.wants(t, "a part", "call 444455556666 us-east-1 ecr:UploadLayerPart", "moved 111122223333/us-east-1 team/app 0 7")
	m.AWS(seen(public, "ecr-public", "UploadLayerPart", &ecrpublic.UploadLayerPartInput{LayerPartBlob: make([]byte, 8)}, nil), 10, 20)
	l.wants(t, "a public part", "call 444455556666 us-east-1 ecr-public:UploadLayerPart", "moved 111122223333/public team/app 0 8")
	m.AWS(seen(here, "ecr", "DescribeImages", nil, nil), 10, 20)
	l.wants(t, "another call", "call 444455556666 us-east-1 ecr:DescribeImages")

	refused := seen(here, "ecr", "PutImage", nil, nil)
	refused.Status, refused.Err = 400, errors.New("no")
	m.AWS(refused, 10, 20)
	l.wants(t, "a refused call", "call 444455556666 us-east-1 ecr:PutImage")
	nowhere := seen(here, "ecr", "PutImage", nil, nil)
	nowhere.Needs = nil
	m.AWS(nowhere, 10, 20)
	l.wants(t, "a call about no repository", "call 444455556666 us-east-1 ecr:PutImage")
	unknown := seen(here, "ecr", "PutImage", nil, nil)
	unknown.Known = false
	m.AWS(unknown, 10, 20)
	nobody := seen(here, "ecr", "PutImage", nil, nil)
	nobody.Call.Principal = principal.Principal{}
	m.AWS(nobody, 10, 20)
	l.wants(t, "what nobody has called")
}

// TestRegistry: requests count as the operations that they are.
func TestRegistry(t *testing.T) {
	l := &ledger{}
	m := metering.New(l)
	seen := func(kind path.Kind, status int, actions ...string) observation.Request {
		return observation.Request{Kind: kind, Actions: actions, Registry: here, Repository: "team/app", Caller: theirs.ARN, Status: status}
	}
	pull := seen(path.Manifest, 200, "BatchGetImage")
	pull.Digest = name.SHA256(nil)
	m.Registry(pull, 10, 0)
	l.wants(t, "a pull", "call 444455556666 us-east-1 ecr:BatchGetImage", "pull 111122223333/us-east-1 team/app", "moved 111122223333/us-east-1 team/app 10 0")
	m.Registry(seen(path.Manifest, 200, "BatchGetImage"), 0, 0)
	l.wants(t, "a look", "call 444455556666 us-east-1 ecr:BatchGetImage")
	pull.Registry, pull.Caller = public, ""
	m.Registry(pull, 10, 0)
	l.wants(t, "anybody's pull", "pull 111122223333/public team/app", "moved 111122223333/public team/app 10 0")
	pull.Caller = theirs.ARN
	m.Registry(pull, 0, 0)
	l.wants(t, "a public pull", "pull 111122223333/public team/app")
	m.Registry(seen(path.Manifest, 201, "PutImage"), 0, 9)
	l.wants(t, "a push", "call 444455556666 us-east-1 ecr:PutImage", "push 111122223333/us-east-1 team/app", "moved 111122223333/us-east-1 team/app 0 9")
	m.Registry(seen(path.Upload, 201, "CompleteLayerUpload", "UploadLayerPart"), 0, 9)
	l.wants(t, "the end of an upload", "call 444455556666 us-east-1 ecr:CompleteLayerUpload", "call 444455556666 us-east-1 ecr:UploadLayerPart", "moved 111122223333/us-east-1 team/app 0 9")
	elsewhere := seen(path.Blob, 307, "GetDownloadUrlForLayer")
	elsewhere.Elsewhere = 1000
	m.Registry(elsewhere, 1, 0)
	l.wants(t, "a redirect", "call 444455556666 us-east-1 ecr:GetDownloadUrlForLayer", "moved 111122223333/us-east-1 team/app 1001 0")
	m.Registry(seen(path.Tags, 200, "ListImages"), 10, 0)
	l.wants(t, "a list", "call 444455556666 us-east-1 ecr:ListImages")
	m.Registry(seen(path.Manifest, 400, "PutImage"), 10, 20)
	l.wants(t, "a refusal", "call 444455556666 us-east-1 ecr:PutImage")
	m.Registry(observation.Request{Kind: path.None, Status: 404}, 10, 20)
	l.wants(t, "nothing of ours")
}

// TestDownload: what an address of a layer gave is its repository's.
func TestDownload(t *testing.T) {
	l := &ledger{}
	m := metering.New(l)
	address := ecr.DownloadPrefix + "111122223333/us-east-1/team/app/sha256:00"
	m.Download(address, 200, 5)
	m.Download(address, 206, 6)
	m.Download(address, 403, 7)
	m.Download(address, 304, 0)
	m.Download(ecr.DownloadPrefix+"111122223333", 200, 8)
	m.Download(ecr.DownloadPrefix+"111122223333/us-east-1/app", 200, 8)
	m.Download("/elsewhere/111122223333/us-east-1/team/app/sha256:00", 200, 8)
	l.wants(t, "a download", "moved 111122223333/us-east-1 team/app 5 0", "moved 111122223333/us-east-1 team/app 6 0")
}
