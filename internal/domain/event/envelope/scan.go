package envelope

import (
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
)

// counts are findings by severity: those severities that occur, the worst first.
type counts struct {
	Critical      int64 `json:"CRITICAL,omitempty"`
	High          int64 `json:"HIGH,omitempty"`
	Medium        int64 `json:"MEDIUM,omitempty"`
	Low           int64 `json:"LOW,omitempty"`
	Informational int64 `json:"INFORMATIONAL,omitempty"`
	Undefined     int64 `json:"UNDEFINED,omitempty"`
}

type scanDetail[C any] struct {
	Status     string      `json:"scan-status"`
	Repository string      `json:"repository-name"`
	Counts     C           `json:"finding-severity-counts"`
	Digest     name.Digest `json:"image-digest"`
	Tags       []name.Tag  `json:"image-tags"`
}

func basicScan(s Stored) (content, error) {
	d, err := read[event.ScanDetail](s)
	n := d.Counts
	return content{
		source: sourceECR, detailType: imageScan, repository: d.Repository, resources: []string{s.arn(d.Repository)},
		detail: scanDetail[counts]{
			Status: d.Status, Repository: string(d.Repository), Digest: d.Digest, Tags: append([]name.Tag{}, d.Tags...),
			Counts: counts{n["CRITICAL"], n["HIGH"], n["MEDIUM"], n["LOW"], n["INFORMATIONAL"], n["UNDEFINED"]},
		},
	}, err
}

// inspectorCounts are what Inspector counts: the three worst severities, and all findings.
type inspectorCounts struct {
	Critical int64 `json:"CRITICAL,omitempty"`
	High     int64 `json:"HIGH,omitempty"`
	Medium   int64 `json:"MEDIUM,omitempty"`
	Total    int64 `json:"TOTAL"`
}

func enhancedScan(s Stored) (content, error) {
	d, err := read[event.ScanDetail](s)
	c := inspectorCounts{Critical: d.Counts["CRITICAL"], High: d.Counts["HIGH"], Medium: d.Counts["MEDIUM"]}
	for _, n := range d.Counts {
		c.Total += n
	}
	return content{
		source: sourceInspector, detailType: inspectorScan, repository: d.Repository, resources: []string{s.arn(d.Repository)},
		detail: scanDetail[inspectorCounts]{
			Status: d.Status, Repository: s.arn(d.Repository), Counts: c, Digest: d.Digest, Tags: append([]name.Tag{}, d.Tags...),
		},
	}, err
}

type frequencyDetail struct {
	Action       string            `json:"action-type"`
	Repositories []frequencyChange `json:"repositories"`
	Resource     string            `json:"resource-type"`
	ScanType     string            `json:"scan-type"`
}

type frequencyChange struct {
	Repository name.Repository `json:"repository-name"`
	ARN        string          `json:"repository-arn"`
	Now        string          `json:"scan-frequency"`
	Before     string          `json:"previous-scan-frequency"`
}

func frequency(s Stored) (content, error) {
	d, err := read[event.FrequencyDetail](s)
	out := frequencyDetail{Action: "SCAN_FREQUENCY_CHANGE", Repositories: []frequencyChange{}, Resource: "REPOSITORY", ScanType: d.ScanType}
	for _, c := range d.Repositories {
		out.Repositories = append(out.Repositories, frequencyChange{c.Repository, s.arn(c.Repository), c.Now, c.Before})
	}
	return content{source: sourceECR, detailType: scanChange, detail: out}, err
}
