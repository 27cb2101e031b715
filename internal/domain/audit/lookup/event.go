package lookup

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Facts are what a record is found by.
type Facts struct {
	Name, Source, Username, AccessKeyID string
	ReadOnly                            bool
	Resources                           []Resource
	// EventID is the record's own where it is not IDOf its row; else "".
	EventID string
}

// IDOf is the event id of the record in a row: a UUID of version 8 with the row's id in it, so
// that finding a record by its id needs no index.
func IDOf(row int64) string {
	u := uuid.UUID{}
	// 48 bits, the version, 12 bits, the variant, 4 bits (of 62): the 63 bits of an id and a sum over them.
	n := uint64(row)
	binary.BigEndian.PutUint64(u[0:8], n>>16<<16)
	u[6], u[7] = 0x80|byte(n>>12&0xf), byte(n>>4)
	binary.BigEndian.PutUint64(u[8:16], (n&0xf)<<58|checksum(n))
	u[8] = 0x80 | u[8]&0x3f
	return u.String()
}

// rowOf is the row whose record has the event id, and false for ids of another form.
func rowOf(eventID string) (row int64, ok bool) {
	u, err := uuid.Parse(eventID)
	if err != nil || u[6]>>4 != 8 {
		return 0, false
	}
	high := binary.BigEndian.Uint64(u[0:8])
	n := high>>16<<16 | high&0xfff<<4 | uint64(u[8]>>2&0xf)
	row = int64(n)
	return row, row > 0 && IDOf(row) == strings.ToLower(eventID)
}

// checksum is 58 bits that tell an id that was made from one that was made up.
func checksum(n uint64) uint64 {
	return uint64(keyOf("row", string(binary.BigEndian.AppendUint64(nil, n)))) >> 6
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// WithID is the record of a row with its event id in it: records from before there were ids
// get theirs when they are read.
func WithID(row int64, record string) string {
	if strings.Contains(record, `"eventID":"`) || !strings.HasSuffix(record, "}") {
		return record
	}
	return record[:len(record)-1] + `,"eventID":"` + IDOf(row) + `"}`
}

// Describe reads what a record is found by out of its text.
func Describe(row int64, record string) (Facts, error) {
	var r struct {
		EventName    string `json:"eventName"`
		EventSource  string `json:"eventSource"`
		EventID      string `json:"eventID"`
		ReadOnly     bool   `json:"readOnly"`
		UserIdentity struct {
			Type        string `json:"type"`
			ARN         string `json:"arn"`
			UserName    string `json:"userName"`
			AccessKeyID string `json:"accessKeyId"`
		} `json:"userIdentity"`
		Resources []struct{ ARN string }
	}
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return Facts{}, err
	}
	f := Facts{
		Name: r.EventName, Source: r.EventSource, ReadOnly: r.ReadOnly, AccessKeyID: r.UserIdentity.AccessKeyID,
		Username: UserOf(r.UserIdentity.Type, r.UserIdentity.ARN, r.UserIdentity.UserName),
	}
	if r.EventID != "" && r.EventID != IDOf(row) {
		f.EventID = r.EventID
	}
	for _, one := range r.Resources {
		f.Resources = append(f.Resources, ResourceOf(one.ARN))
	}
	return f, nil
}

// UserOf is what CloudTrail calls the user name of a caller: that of the IAM user, the name of the
// session of a role, "root" for the root user, "" for nobody.
func UserOf(kind, arn, userName string) string {
	switch {
	case userName != "":
		return userName
	case kind == "Root":
		return "root"
	case arn == "":
		return ""
	}
	return arn[strings.LastIndexAny(arn, "/:")+1:]
}

// ResourceOf is the resource that an ARN names, with the type by which CloudFormation and
// CloudTrail call it; "" for a type that Berth has no word for.
func ResourceOf(arn string) Resource {
	a, err := name.ParseARN(arn)
	if err != nil {
		return Resource{Name: arn}
	}
	kind := a.Resource
	if i := strings.IndexAny(kind, "/:"); i >= 0 {
		kind = kind[:i]
	}
	r := Resource{Name: arn}
	switch a.Service + " " + kind {
	case "ecr repository":
		r.Type = "AWS::ECR::Repository"
	case "ecr-public repository":
		r.Type = "AWS::ECR::PublicRepository"
	case "iam user":
		r.Type = "AWS::IAM::User"
	case "iam role", "sts assumed-role":
		r.Type = "AWS::IAM::Role"
	case "iam group":
		r.Type = "AWS::IAM::Group"
	case "iam policy":
		r.Type = "AWS::IAM::Policy"
	case "secretsmanager secret":
		r.Type = "AWS::SecretsManager::Secret"
	case "events rule":
		r.Type = "AWS::Events::Rule"
	case "cloudtrail trail":
		r.Type = "AWS::CloudTrail::Trail"
	case "kms key":
		r.Type = "AWS::KMS::Key"
	}
	return r
}

// shortName is what a resource is called without its ARN: "team/app" of a repository, the last
// element of what IAM keeps under paths. Text that is no ARN is its own.
func shortName(called string) string {
	a, err := name.ParseARN(called)
	if err != nil {
		return called
	}
	i := strings.IndexAny(a.Resource, "/:")
	if a.Service == "iam" {
		i = strings.LastIndexByte(a.Resource, '/')
	}
	return a.Resource[i+1:]
}
