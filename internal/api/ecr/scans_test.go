package ecr

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
)

// TestScanOfDetail: what DescribeImages says of a scan before, during and after it.
func TestScanOfDetail(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	complete := scan.Summary{
		State: scan.State{Status: scan.Complete, Description: "The scan was completed successfully."}, CompletedAt: at, SourceUpdatedAt: at.Add(-time.Hour),
		Counts: map[finding.Severity]int64{finding.High: 2, finding.Undefined: 1, finding.Low: 0},
	}
	const summary = `"imageScanFindingsSummary":{"imageScanCompletedAt":1767323045.000,"vulnerabilitySourceUpdatedAt":1767319445.000,"findingSeverityCounts":{"HIGH":2,"UNDEFINED":1}}`
	again := complete
	again.State = scan.State{Status: scan.InProgress}
	for what, c := range map[string]struct {
		summary scan.Summary
		want    string
	}{
		"never":       {scan.Summary{}, `{}`},
		"begun":       {scan.Summary{State: scan.State{Status: scan.InProgress}}, `{"imageScanStatus":{"status":"IN_PROGRESS"}}`},
		"failed":      {scan.Summary{State: scan.State{Status: scan.Failed, Description: "why"}}, `{"imageScanStatus":{"status":"FAILED","description":"why"}}`},
		"complete":    {complete, `{"imageScanStatus":{"status":"COMPLETE","description":"The scan was completed successfully."},` + summary + `}`},
		"once more":   {again, `{"imageScanStatus":{"status":"IN_PROGRESS"},` + summary + `}`},
		"of no age":   {scan.Summary{State: scan.State{Status: scan.Complete}, CompletedAt: at}, `{"imageScanStatus":{"status":"COMPLETE"},"imageScanFindingsSummary":{"imageScanCompletedAt":1767323045.000,"findingSeverityCounts":{}}}`},
		"other image": {scan.Summary{State: scan.State{Tag: "v1"}}, `{}`},
	} {
		var d ImageDetail
		addScan(&d, c.summary)
		if got, err := json.Marshal(d); err != nil || string(got) != c.want {
			t.Errorf("%s: got %s %v, want %s", what, got, err, c.want)
		}
	}
}
