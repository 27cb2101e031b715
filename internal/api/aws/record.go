package aws

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/audit"
)

// record hands the call to the audit trail, whatever became of it. Requests
// that name no service of ours belong to no trail.
func (x *exchange) record(out any, failed WireError) {
	if x.route.service == nil {
		return
	}
	times := x.route.service.RecordedTimes
	if times == "" {
		times = "Jan 2, 2006 3:04:05 PM"
	}
	e := audit.Entry{
		Time:              x.call.At,
		EventSource:       x.route.service.EventSource,
		EventName:         operationLabel(x.route.operation),
		Region:            x.call.Region,
		Principal:         x.call.Principal.AuditIdentity(),
		Account:           x.call.Principal.Account,
		UserAgent:         cut(x.call.UserAgent),
		RequestID:         x.call.RequestID,
		ErrorCode:         failed.Name,
		ErrorMessage:      cut(failed.Message),
		RequestParameters: recorded(x.in, times),
		ReadOnly:          !x.route.service.rows[x.route.operation].Mutates,
	}
	if x.call.Identity.ARN != "" {
		e.Principal, e.Account = x.call.Identity, x.call.Identity.Account
	}
	if x.call.Origin.SourceIP.IsValid() {
		e.SourceIP = x.call.Origin.SourceIP.String()
	}
	if s := x.r.TLS; s != nil {
		// CloudTrail's spelling: TLSv1.3.
		e.TLS = &audit.TLS{Version: strings.ReplaceAll(tls.VersionName(s.Version), " ", "v"), CipherSuite: tls.CipherSuiteName(s.CipherSuite), Host: cut(x.r.Host)}
	}
	if x.row.Mutates && failed.Name == "" {
		e.ResponseElements = recorded(out, times)
	}
	for _, need := range x.needs {
		if need.Resource.IsZero() || slices.Contains(e.Resources, need.Resource.String()) {
			continue
		}
		if len(e.Resources) == 0 && need.Resource.Account != "" {
			e.Account = need.Resource.Account
		}
		e.Resources = append(e.Resources, need.Resource.String())
	}
	// The record is kept also when the client has gone.
	x.p.cfg.Audit.Record(context.WithoutCancel(x.r.Context()), e)
}

// maxRecordedText bounds texts that a client can lengthen at will, in bytes; it
// is CloudTrail's bound.
const maxRecordedText = 1024

func cut(s string) string {
	if len(s) > maxRecordedText {
		s = s[:maxRecordedText]
	}
	return strings.ToValidUTF8(s, "")
}

// maxRecorded bounds the parameters and the answer in an audit record, in bytes.
// Past it CloudTrail leaves them out and says so; a manifest can be that long.
const maxRecorded = 100_000

// recorded writes a generated input or output as an audit record holds it: blobs
// are left out, sensitive members hidden, times in the form of a Go layout. It
// returns nil where nothing is left.
func recorded(v any, times string) json.RawMessage {
	if v == nil {
		return nil
	}
	var b bytes.Buffer
	writeRecorded(&b, reflect.ValueOf(v), times)
	switch {
	case b.String() == "{}":
		return nil
	case b.Len() > maxRecorded:
		return json.RawMessage(fmt.Sprintf(`{"omitted":true,"originalSize":%d,"reason":"too large"}`, b.Len()))
	}
	return b.Bytes()
}

func writeRecorded(b *bytes.Buffer, v reflect.Value, times string) {
	if stamp, ok := v.Interface().(shape.Timestamp); ok {
		b.WriteString(`"` + stamp.UTC().Format(times) + `"`)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			b.WriteString("null")
			return
		}
		writeRecorded(b, v.Elem(), times)
	case reflect.Struct:
		writeRecordedStruct(b, v, times)
	case reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			writeRecorded(b, v.Index(i), times)
		}
		b.WriteByte(']')
	default:
		// Scalars and maps of scalars: what the generated types hold besides
		// the above always has a JSON form.
		text, err := json.Marshal(v.Interface())
		if err != nil {
			text = []byte("null")
		}
		b.Write(text)
	}
}

// oneTimeCodes are members that the service models do not mark as sensitive, and
// that open something for as long as nobody has used them.
var oneTimeCodes = []string{"TokenCode", "AuthenticationCode1", "AuthenticationCode2"}

func writeRecordedStruct(b *bytes.Buffer, v reflect.Value, times string) {
	b.WriteByte('{')
	first := true
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if value.IsZero() || value.Type() == reflect.TypeFor[[]byte]() {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		member, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		b.WriteString(`"` + member + `":`)
		if field.Tag.Get("aws") == "sensitive" || slices.Contains(oneTimeCodes, member) {
			b.WriteString(`"HIDDEN_DUE_TO_SECURITY_REASONS"`)
			continue
		}
		writeRecorded(b, value, times)
	}
	b.WriteByte('}')
}
