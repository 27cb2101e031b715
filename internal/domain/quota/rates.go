package quota

import (
	"context"
	"hash/maphash"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Rates are request rates by action, in requests a second of one account in one
// region. An action that is not among them, and 0, is without a limit.
type Rates map[string]int64

// ECRRates are the rates that AWS publishes for private registries (ECR user
// guide, "Amazon ECR service quotas", 2026) and for public ones, whose actions begin
// with ecr-public: . AWS limits the other actions too and does not say how.
func ECRRates() Rates {
	rates := Rates{
		"GetAuthorizationToken":       500,
		"BatchCheckLayerAvailability": 1_000,
		"InitiateLayerUpload":         100,
		"UploadLayerPart":             500,
		"CompleteLayerUpload":         100,
		"PutImage":                    10,
		"BatchGetImage":               2_000,
		"GetDownloadUrlForLayer":      3_000,
	}
	maps.Copy(rates, publicRates())
	return rates
}

// rateTable is which rates hold; it is replaced whole.
type rateTable struct {
	revision int64
	common   Rates
	own      map[ownRate]int64
}

type ownRate struct {
	account name.AccountID
	action  string
}

// of is the rate of an account's action, 0 for none.
func (t *rateTable) of(account name.AccountID, action string) int64 {
	if len(t.own) > 0 {
		if rate, ok := t.own[ownRate{account, action}]; ok {
			return rate
		}
	}
	return t.common[action]
}

// Request asks to be admitted.
type Request struct {
	// Account is the caller's (or OfAddress), Region the one that is addressed.
	Account name.AccountID
	Region  name.Region
	// Action is the operation, "PutImage".
	Action string
	// Patience is how long the caller would rather wait than be refused.
	Patience time.Duration
}

const (
	// maxSleepers bounds the requests of a node that wait for a token, each of
	// which holds a connection; maxBucketSleepers those for one of its buckets, so
	// that one account does not take all places.
	maxSleepers       = 1024
	maxBucketSleepers = 256
	// maxRetryAfter bounds what a refused caller is told, in seconds.
	maxRetryAfter = 60
)

// RetryAfter is the detail of an errs.Throttled that says after how many whole
// seconds, at least one, a token is likely there; an int.
const RetryAfter = "retryAfter"

// Admit takes a token of the account's rate for the action in the region, and
// returns nil at once where there is one or no rate is set. Where the next token
// comes within r.Patience it waits for it, in the order in which requests came.
// Else it returns errs.Throttled, with the detail RetryAfter. A context that ends
// during the wait gives the token back, and its error is returned.
//
// It does not touch the database. A rate of n requests a second is a bucket of n
// tokens, refilled with n a second; of a rate that is shared with other nodes
// (Config.Share) this node has its share.
func (s *Service) Admit(ctx context.Context, r Request) error {
	rate := s.table.Load().of(r.Account, r.Action)
	if rate <= 0 {
		return nil
	}
	b := s.buckets.of(bucketKey{r.Account, r.Region, r.Action})
	patience := r.Patience
	if patience > 0 {
		if s.sleepers.Add(1) <= maxSleepers {
			defer s.sleepers.Add(-1)
		} else {
			s.sleepers.Add(-1)
			patience = 0
		}
	}
	wait, ok := b.take(s.now(), float64(rate), patience)
	switch {
	case !ok:
		seconds := min(max(int(math.Ceil(wait.Seconds())), 1), maxRetryAfter)
		return errs.New(errs.Throttled, "Rate exceeded").With(RetryAfter, seconds)
	case wait == 0:
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.awake(false)
		return nil
	case <-ctx.Done():
		b.awake(true)
		return ctx.Err()
	}
}

// now is the time since the service was made, which no change of the machine's
// clock disturbs.
func (s *Service) now() time.Duration { return s.clk.Now().Sub(s.buckets.epoch) }

// bucketKey is what has a rate of its own.
type bucketKey struct {
	account name.AccountID
	region  name.Region
	action  string
}

// bucketShards is how many locks the map of buckets is spread over.
const bucketShards = 32

// maxShardBuckets bounds the buckets of a shard, some 250 bytes each. Accounts are too
// few to reach it, but anybody may have any number of addresses.
const maxShardBuckets = 4096

// buckets finds the bucket of a key. Those that nobody uses are forgotten, so
// there are as many as keys in use: accounts, regions and actions that exist, and
// addresses that pull from public registries.
type buckets struct {
	epoch     time.Time
	beginning atomic.Uint64 // see start
	seed      maphash.Seed
	shards    [bucketShards]shard
}

type shard struct {
	mu  sync.RWMutex
	all map[bucketKey]*bucket
}

func (b *buckets) init(epoch time.Time, shared bool) {
	b.epoch, b.seed = epoch, maphash.MakeSeed()
	b.setStart(1)
	if shared {
		b.setStart(startShare)
	}
	for i := range b.shards {
		b.shards[i].all = map[bucketKey]*bucket{}
	}
}

// start is the share that a new bucket begins with.
func (b *buckets) start() float64         { return math.Float64frombits(b.beginning.Load()) }
func (b *buckets) setStart(share float64) { b.beginning.Store(math.Float64bits(share)) }

func (b *buckets) of(k bucketKey) *bucket {
	sh := &b.shards[(maphash.String(b.seed, string(k.account))^maphash.String(b.seed, k.action))%bucketShards]
	sh.mu.RLock()
	found := sh.all[k]
	sh.mu.RUnlock()
	if found != nil {
		return found
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if found = sh.all[k]; found == nil {
		if len(sh.all) >= maxShardBuckets {
			sh.forgetOne()
		}
		found = &bucket{share: b.start()}
		sh.all[k] = found
	}
	return found
}

// evictionSample is how many buckets forgetOne looks at.
const evictionSample = 8

// forgetOne makes room: of a few buckets it drops the one that was used the longest
// time ago, whose owner then has a full one again.
func (sh *shard) forgetOne() {
	var oldest bucketKey
	var used time.Duration
	seen := 0
	for k, b := range sh.all {
		if at, sleeping := b.lastUsed(); !sleeping && (oldest == (bucketKey{}) || at < used) {
			oldest, used = k, at
		}
		if seen++; seen >= evictionSample {
			break
		}
	}
	delete(sh.all, oldest)
}

// each calls fn with every bucket, and forgets those for which it says so.
func (b *buckets) each(fn func(bucketKey, *bucket) (forget bool)) {
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		for k, one := range sh.all {
			if fn(k, one) {
				delete(sh.all, k)
			}
		}
		sh.mu.Unlock()
	}
}

// idleLife is how long a bucket is kept that nobody uses. Whoever forgets one
// that a request has found just now admits one request too many.
const idleLife = time.Minute

// forgetIdle drops the buckets that nobody has used for idleLife; a new one
// would be full as they are.
func (b *buckets) forgetIdle(now time.Duration) {
	b.each(func(_ bucketKey, one *bucket) bool { return one.idle(now) })
}

// bucket holds the tokens of one key on this node. tokens is below 0 while
// requests sleep that have taken theirs ahead.
type bucket struct {
	mu       sync.Mutex
	begun    bool
	at       time.Duration // of the last change of tokens
	used     time.Duration // by the last request
	limit    float64       // of all nodes, in requests a second
	share    float64       // of limit that is this node's
	tokens   float64
	sleepers int

	demand demand
}

// rate is how many tokens come each second, most how many can be there: one
// second's worth, and never less than the one that a request needs.
func (b *bucket) rate() float64 { return b.limit * b.share }
func (b *bucket) most() float64 { return max(b.rate(), 1) }

// take takes a token now, or one that comes within patience, for which the
// caller has to sleep and then call awake. ok is false when there is none; then
// wait is when one would come.
func (b *bucket) take(now time.Duration, limit float64, patience time.Duration) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.demand.asked++
	b.used = now
	b.refill(now)
	if !b.begun || limit != b.limit {
		b.limit = limit
		if !b.begun {
			b.begun, b.tokens = true, b.most()
		}
		b.tokens = min(b.tokens, b.most())
	}
	if b.tokens >= 1 {
		b.tokens--
		return 0, true
	}
	wait = max(time.Duration((1-b.tokens)/b.rate()*float64(time.Second)), 1)
	if wait > patience || b.sleepers >= maxBucketSleepers {
		return wait, false
	}
	b.tokens--
	b.sleepers++
	return wait, true
}

// refill adds what has come since the last time.
func (b *bucket) refill(now time.Duration) {
	if now > b.at {
		b.tokens = min(b.tokens+(now-b.at).Seconds()*b.rate(), b.most())
		b.at = now
	}
}

// awake ends a sleep, and gives the token back where it is not used.
func (b *bucket) awake(back bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sleepers--
	if back {
		b.tokens++
	}
}

// setShare changes the share from now on.
func (b *bucket) setShare(now time.Duration, share float64) {
	b.refill(now)
	b.share = share
	b.tokens = min(b.tokens, b.most())
}

func (b *bucket) idle(now time.Duration) bool {
	used, sleeping := b.lastUsed()
	return !sleeping && now-used >= idleLife
}

// lastUsed says when a request last came, and whether any sleep.
func (b *bucket) lastUsed() (at time.Duration, sleeping bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, b.sleepers > 0
}
