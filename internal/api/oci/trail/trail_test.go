package trail_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/trail"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

type members = map[string]any

// TestFill: entries have the members that the ECR API has, whatever the registry's protocol calls them.
func TestFill(t *testing.T) {
	const at = `"registryId":"111111111111","repositoryName":"testrepo"`
	for _, tt := range []struct {
		entry            audit.Entry
		params, elements members
		request, answer  string
	}{
		{audit.Entry{EventName: "BatchGetImage", ReadOnly: true},
			members{"imageIds": trail.ImageID{Member: "imageTag", Value: "latest"}, "acceptedMediaTypes": []string{"application/json, a/b;q=0.5", "c/d", ""}}, members{"x": 1},
			`{"acceptedMediaTypes":["application/json","a/b","c/d"],"imageIds":[{"imageTag":"latest"}],` + at + `}`, ""},
		{audit.Entry{EventName: "PutImage"},
			members{"imageManifest": `{"a":1}`, "imageTag": "latest"}, members{"image": members{"registryId": "111111111111", "repositoryName": "testrepo", "imageId": members{"imageDigest": "sha256:1"}}},
			`{"imageManifest":"{\"a\":1}","imageTag":"latest",` + at + `}`, `{"image":{"imageId":{"imageDigest":"sha256:1"},"imageManifest":"{\"a\":1}",` + at + `}}`},
		{audit.Entry{EventName: "PutImage", ErrorCode: "DENIED"}, members{"imageTag": "latest"}, members{"image": members{}}, `{"imageTag":"latest",` + at + `}`, ""},
		{audit.Entry{EventName: "BatchCheckLayerAvailability", ReadOnly: true}, members{"layerDigest": "sha256:1"}, nil, `{"layerDigests":["sha256:1"],` + at + `}`, ""},
		{audit.Entry{EventName: "GetDownloadUrlForLayer", ReadOnly: true}, members{"layerDigest": "sha256:1"}, nil, `{"layerDigest":"sha256:1",` + at + `}`, ""},
		{audit.Entry{EventName: "InitiateLayerUpload"}, members{}, members{"uploadId": "u"}, `{` + at + `}`, `{"uploadId":"u"}`},
		{audit.Entry{EventName: "UploadLayerPart"}, members{"uploadId": "u", "partFirstByte": 0}, members{"uploadId": "u", "lastByteReceived": 9},
			`{"partFirstByte":0,"partLastByte":9,` + at + `,"uploadId":"u"}`, `{"lastByteReceived":9,` + at + `,"uploadId":"u"}`},
		{audit.Entry{EventName: "CompleteLayerUpload"}, members{"uploadId": "u", "layerDigests": []string{"sha256:1"}}, members{"layerDigest": "sha256:1"},
			`{"layerDigests":["sha256:1"],` + at + `,"uploadId":"u"}`, `{"layerDigest":"sha256:1",` + at + `,"uploadId":"u"}`},
		{audit.Entry{EventName: "CompleteLayerUpload", ErrorCode: "DIGEST_INVALID"}, members{"uploadId": "u"}, nil, `{` + at + `,"uploadId":"u"}`, ""},
		{audit.Entry{EventName: "MountLayer"}, members{"layerDigest": "sha256:1", "sourceRepositoryName": "b"}, members{"layerDigest": "sha256:1"},
			`{"layerDigest":"sha256:1",` + at + `,"sourceRepositoryName":"b"}`, `{"layerDigest":"sha256:1",` + at + `}`},
		{audit.Entry{EventName: "BatchDeleteImage"}, members{}, members{"imageIds": []members{{"imageTag": "v"}}}, `{` + at + `}`, `{"failures":[],"imageIds":[{"imageTag":"v"}]}`},
		{audit.Entry{EventName: "ListImageReferrers", ReadOnly: true}, members{"subjectId": members{"imageDigest": "sha256:1"}, "nextToken": "t"}, nil,
			`{"nextToken":"t",` + at + `,"subjectId":{"imageDigest":"sha256:1"}}`, ""},
		{audit.Entry{EventName: "PutImage"}, members{"imageManifest": strings.Repeat("x", 100_000)}, members{"image": members{}},
			`{"omitted":true,"originalSize":100076,"reason":"too large"}`, `{"omitted":true,"originalSize":100030,"reason":"too large"}`},
	} {
		tt.params["registryId"], tt.params["repositoryName"] = name.AccountID("111111111111"), name.Repository("testrepo")
		e := tt.entry
		trail.Fill(slog.New(slog.DiscardHandler), &e, tt.params, tt.elements)
		if string(e.RequestParameters) != tt.request || string(e.ResponseElements) != tt.answer {
			t.Errorf("%s: %s\nwant %s\nand  %s\nwant %s", e.EventName, e.RequestParameters, tt.request, e.ResponseElements, tt.answer)
		}
	}
}

// TestTextsAreBounded: what a client can lengthen at will is cut as CloudTrail cuts it.
func TestTextsAreBounded(t *testing.T) {
	long := strings.Repeat("é", 1000)
	e := trail.Call{Service: front.Service{EventSource: "ecr.amazonaws.com", Region: "eu-west-1"}, Caller: principal.Root("111111111111"), UserAgent: long}.Entry("ListImages")
	e.ErrorCode, e.ErrorMessage = "DENIED", "x"+long
	trail.Fill(slog.New(slog.DiscardHandler), &e, nil, nil)
	if e.UserAgent != long[:1024] || e.ErrorMessage != "x"+long[:1022] || e.RequestParameters != nil {
		t.Errorf("%d and %d bytes", len(e.UserAgent), len(e.ErrorMessage))
	}
	if !e.Proxied || e.Account != "111111111111" || e.Region != "eu-west-1" {
		t.Errorf("the entry is %+v", e)
	}
}

// TestMembers: parameters are written as encoding/json writes them, whatever stands in them.
func TestMembers(t *testing.T) {
	texts := rapid.OneOf(rapid.StringMatching(`[a-z<>&" \\]{0,8}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	values := rapid.Custom(func(t *rapid.T) any {
		s := texts.Draw(t, "text")
		return []any{s, name.AccountID(s), name.Repository(s), name.Digest(s), []string{s}, members{s: s}, int64(len(s)), nil, []name.Digest{name.Digest(s), name.Digest(s)}}[rapid.IntRange(0, 8).Draw(t, "kind")]
	})
	rapid.Check(t, func(t *rapid.T) {
		params := rapid.MapOfN(texts, values, 1, 12).Draw(t, "members")
		params["layerDigest"] = values.Draw(t, "digest")
		want, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		e := audit.Entry{EventName: "ListImages", ReadOnly: true}
		trail.Fill(slog.New(slog.DiscardHandler), &e, params, nil)
		if string(e.RequestParameters) != string(want) || !e.Marshaled {
			t.Fatalf("got  %s\nwant %s", e.RequestParameters, want)
		}
		if want, err = json.Marshal(members{"layerDigests": []any{params["layerDigest"]}}); err != nil {
			t.Fatal(err)
		}
		e = audit.Entry{EventName: "BatchCheckLayerAvailability", ReadOnly: true}
		trail.Fill(slog.New(slog.DiscardHandler), &e, members{"layerDigest": params["layerDigest"]}, nil)
		if string(e.RequestParameters) != string(want) {
			t.Fatalf("got  %s\nwant %s", e.RequestParameters, want)
		}
	})
}
