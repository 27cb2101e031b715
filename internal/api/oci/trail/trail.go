// Package trail is how requests of the registry stand in the audit trail: in the words of the
// ECR API, as if the client had called that. Which requests do, and under which names, is
// api/oci's to say; the trail is domain/audit's.
package trail

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Call is what the trail has to know of a request.
type Call struct {
	At         time.Time
	ID         string
	Service    front.Service
	Registry   name.Registry
	Repository name.Repository // "" for none
	Caller     principal.Principal
	Origin     authz.Origin
	UserAgent  string
}

// Entry is an audit entry with what follows from the request alone. One that found no
// registry stands in the trail of the caller's account.
func (c Call) Entry(event string) audit.Entry {
	e := audit.Entry{
		Time: c.At, EventSource: c.Service.EventSource, EventName: event, Region: c.Service.Region, Principal: c.Caller.AuditIdentity(),
		Account: c.Registry.Account, UserAgent: cut(c.UserAgent), Proxied: true, RequestID: c.ID,
	}
	if e.Account == "" {
		e.Account = c.Caller.Account
	}
	if ip := c.Origin.SourceIP; ip.IsValid() {
		e.SourceIP = ip.String()
	}
	if c.Repository != "" {
		e.Resources = []string{c.Registry.RepositoryARN(c.Repository).String()}
	}
	return e
}

// maxText bounds texts that a client can lengthen at will, in bytes; maxMembers the parameters and
// the answer, which hold a manifest. Both are CloudTrail's bounds, as in api/aws.
const (
	maxText    = 1024
	maxMembers = 100_000
)

func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// Fill puts the parameters and the answer into an entry whose name and failure are known, with the
// members that the operation of that name has in the ECR API. A read and a failed call have
// no answer. What cannot be written is logged and left out. The maps are of no use afterwards.
func Fill(log *slog.Logger, e *audit.Entry, params, elements map[string]any) {
	if accepted, ok := params["acceptedMediaTypes"].([]string); ok {
		params["acceptedMediaTypes"] = mediaTypes(accepted)
	}
	if e.ReadOnly || e.ErrorCode != "" {
		elements = nil
	}
	switch e.EventName {
	case "BatchCheckLayerAvailability":
		if d, ok := params["layerDigest"]; ok {
			delete(params, "layerDigest")
			params["layerDigests"] = onlyOne{d}
		}
	case "PutImage":
		if img, ok := elements["image"].(map[string]any); ok {
			img["imageManifest"] = params["imageManifest"]
		}
	case "UploadLayerPart":
		if last, ok := elements["lastByteReceived"]; ok {
			params["partLastByte"] = last
		}
		address(params, elements)
	case "CompleteLayerUpload":
		if elements != nil {
			elements["uploadId"] = params["uploadId"]
		}
		address(params, elements)
	case "MountLayer":
		address(params, elements)
	case "BatchDeleteImage":
		if elements != nil {
			elements["failures"] = []any{}
		}
	}
	e.RequestParameters, e.ResponseElements, e.Marshaled = marshal(log, params), marshal(log, elements), true
	e.ErrorMessage = cut(e.ErrorMessage)
}

// address adds to an answer where the call went to.
func address(params, elements map[string]any) {
	if elements != nil {
		elements["registryId"], elements["repositoryName"] = params["registryId"], params["repositoryName"]
	}
}

// mediaTypes are those of Accept headers, one by one, without parameters.
func mediaTypes(accepted []string) (all []string) {
	for _, value := range accepted {
		for one := range strings.SplitSeq(value, ",") {
			one, _, _ = strings.Cut(one, ";")
			if one = strings.TrimSpace(one); one != "" {
				all = append(all, one)
			}
		}
	}
	return all
}

// Created is the answer of a CreateRepository that a push has led to; base is the registry's
// (scheme://host).
func Created(r repository.Repository, base string) map[string]any {
	_, host, _ := strings.Cut(base, "://")
	return map[string]any{"repository": map[string]any{
		"registryId": r.Registry.Account, "repositoryName": r.Name, "repositoryArn": r.ARN().String(), "repositoryUri": host + "/" + string(r.Name),
		"createdAt": r.CreatedAt.UTC().Format("Jan 2, 2006 3:04:05 PM"), "imageTagMutability": r.Mutability.Setting,
		"encryptionConfiguration": map[string]any{"encryptionType": r.Encryption.Type},
	}}
}

// few is how many members a call has at the most, nearly always.
const few = 8

// marshal writes members as encoding/json does, but for those of the usual types without reflection:
// every pull comes here.
func marshal(log *slog.Logger, members map[string]any) json.RawMessage {
	if len(members) == 0 {
		return nil
	}
	var names [few]string
	all := names[:0]
	for m := range members {
		all = append(all, m)
	}
	slices.Sort(all)
	var space [512]byte // enough, nearly always
	b := space[:0]
	for i, m := range all {
		b = append(b, "{,"[min(i, 1)])
		b = append(appendText(b, m), ':')
		var err error
		if b, err = appendValue(b, members[m]); err != nil {
			log.Error("a call's parameters cannot be recorded", "error", err)
			return nil
		}
	}
	b = append(b, '}')
	if len(b) > maxMembers {
		return json.RawMessage(fmt.Sprintf(`{"omitted":true,"originalSize":%d,"reason":"too large"}`, len(b)))
	}
	return slices.Clone(b)
}

// appendValue appends what encoding/json makes of a value.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendText(b, v), nil
	case name.AccountID:
		return appendText(b, string(v)), nil
	case name.Repository:
		return appendText(b, string(v)), nil
	case name.Digest:
		return appendText(b, string(v)), nil
	case []string:
		return appendTexts(b, v), nil
	case []name.Digest:
		return appendTexts(b, v), nil
	case ImageID:
		b = append(b, `[{"`...)
		b = append(append(b, v.Member...), `":`...)
		return append(appendText(b, v.Value), "}]"...), nil
	case onlyOne:
		b, err := appendValue(append(b, '['), v.value)
		return append(b, ']'), err
	}
	one, err := json.Marshal(v)
	return append(b, one...), err
}

// onlyOne is a parameter that is an array of one value.
type onlyOne struct{ value any }

// ImageID is the parameter imageIds of a call for one image, by one member: imageTag or
// imageDigest.
type ImageID struct{ Member, Value string }

// appendTexts appends texts as an array of JSON.
func appendTexts[T ~string](b []byte, texts []T) []byte {
	b = append(b, '[')
	for i, s := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, string(s))
	}
	return append(b, ']')
}

// appendText appends a text as a string of JSON.
func appendText(b []byte, s string) []byte {
	if !audit.Plain(s) {
		text, _ := json.Marshal(s) // of a string, which has no error
		return append(b, text...)
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}
