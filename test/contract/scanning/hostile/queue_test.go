package hostile

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestQueue pushes far more images than are scanned meanwhile: 2,000, and with -big 10,000.
// Pushes go on, the server's memory does not grow with the queue, and all are scanned.
func TestQueue(t *testing.T) {
	n := 2000
	if *big {
		n = 10_000
	}
	const pushers = 4
	w := start(t, harness.Options{}, goodDB())
	layer := base(t)
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	for repo, scanned := range map[string]bool{"quiet": false, "scanned": true} {
		w.repository(t, repo, scanned)
		for _, b := range [][]byte{layer, config} {
			must(w.root.PutBlob(t.Context(), repo, b))(t)
		}
	}
	// The rate at which images go into a repository, by several at once.
	pushed := map[string]int64{}
	push := func(repo string, n int) (rate float64) {
		var next atomic.Int64
		next.Store(pushed[repo])
		last := next.Load() + int64(n)
		pushed[repo] = last
		var all sync.WaitGroup
		began := time.Now()
		for range pushers {
			all.Go(func() {
				for i := next.Add(1); i <= last; i = next.Add(1) {
					tag := fmt.Sprintf("v%d", i)
					m, err := manifest(harness.Manifest{
						SchemaVersion: 2, MediaType: harness.OCIImage,
						Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
						Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
						// Each is another image by this alone.
						Annotations: map[string]string{"n": tag},
					})
					if err == nil {
						_, err = w.api.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &repo, ImageManifest: aws.String(string(m)), ImageTag: &tag})
					}
					if err != nil {
						t.Errorf("%s:%s: %v", repo, tag, err)
						return
					}
				}
			})
		}
		all.Wait()
		return float64(n) / time.Since(began).Seconds()
	}
	push("quiet", 50) // the first ones open connections
	w.root.HTTP.CloseIdleConnections()
	warm := kilobytes(w.Pid(), "VmRSS")
	quiet := push("quiet", n/4)
	before := kilobytes(w.Pid(), "VmRSS")
	memory := w.watch(t)
	began := time.Now()
	scanned := push("scanned", n)
	inTook := time.Since(began)
	if t.Failed() {
		return
	}

	counts := map[types.ScanStatus]int{}
	count := func() {
		clear(counts)
		pages := ecr.NewDescribeImagesPaginator(w.api, &ecr.DescribeImagesInput{RepositoryName: aws.String("scanned"), MaxResults: aws.Int32(1000)})
		for pages.HasMorePages() {
			for _, i := range must(pages.NextPage(t.Context()))(t).ImageDetails {
				if i.ImageScanStatus == nil {
					counts["none"]++
				} else {
					counts[i.ImageScanStatus.Status]++
				}
			}
		}
	}
	count()
	queued := n - counts[types.ScanStatusComplete]
	for last := time.Now(); counts[types.ScanStatusComplete] < n; time.Sleep(200 * time.Millisecond) {
		was := counts[types.ScanStatusComplete]
		if count(); counts[types.ScanStatusComplete] > was {
			last = time.Now()
		}
		if time.Since(last) > limit {
			t.Fatalf("the scans do not go on: %v", counts)
		}
	}
	took := time.Since(began)
	memory.end()
	t.Logf("%d images: %.0f pushes a second without scanning, %.0f with it in %s; %d in the queue then; all scanned after %s (%.0f a second); the server held %d MiB at first, %d before the scans, %d at most; a scanner %d",
		n, quiet, scanned, inTook.Round(time.Millisecond), queued, took.Round(time.Millisecond), float64(n)/took.Seconds(), warm/mib, before/mib, memory.server/mib, memory.scanner/mib)
	if scanned < quiet/3 {
		t.Errorf("%.0f pushes a second while images are scanned, %.0f otherwise", scanned, quiet)
	}
	if memory.server > serverMemory {
		t.Errorf("the server held %d MiB, at most %d are allowed", memory.server/mib, serverMemory/mib)
	}
	isGood(t, "one of many", w.ended(t, "scanned", fmt.Sprintf("v%d", n)))
	w.MustFsck(t)
}
