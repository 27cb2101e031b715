package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// maxTokenAnswer is what a token server may answer; tokens of some registries
	// carry all rights of their bearer.
	maxTokenAnswer = 256 << 10
	// maxToken is what fits into the header limits of servers.
	maxToken = 64 << 10
	// tokenLife is how long a token lasts that does not say: 60 s, by the docker
	// token specification.
	tokenLife = 60 * time.Second
	// tokenMargin is how long before its end a token is not used any more, at most a
	// fifth of its life.
	tokenMargin = 30 * time.Second
	// maxRemembered is how many tokens and challenges are kept; beyond it those that ran
	// out go, then all.
	maxRemembered = 4096
)

// challenge is how a registry wants to be logged in to.
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// parseChallenges reads WWW-Authenticate headers (RFC 9110, 11.6.1). What is not
// understood is left out.
func parseChallenges(headers []string) []challenge {
	var all []challenge
	for _, h := range headers {
		p := scanner{text: h}
		for {
			p.skip(" \t,")
			scheme := p.token()
			if scheme == "" {
				break
			}
			c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
			p.params(c.params)
			all = append(all, c)
		}
	}
	return all
}

// scanner reads a header from its front.
type scanner struct{ text string }

func (p *scanner) skip(chars string) { p.text = strings.TrimLeft(p.text, chars) }

// token reads a token, "" where there is none.
func (p *scanner) token() string {
	i := strings.IndexFunc(p.text, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if i < 0 {
		i = len(p.text)
	}
	t := p.text[:i]
	p.text = p.text[i:]
	return t
}

// params reads name=value pairs up to the next scheme.
func (p *scanner) params(into map[string]string) {
	for {
		p.skip(" \t,")
		before := p.text
		name := p.token()
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.text, "=") {
			if name == "" && p.text != "" { // a token68 or rubbish: on to the next comma
				_, p.text, _ = strings.Cut(p.text, ",")
				continue
			}
			p.text = before
			return
		}
		p.text = p.text[1:]
		p.skip(" \t")
		value, ok := p.value()
		if name = strings.ToLower(name); ok && into[name] == "" {
			into[name] = value
		}
	}
}

// value reads a token or a quoted string.
func (p *scanner) value() (string, bool) {
	if !strings.HasPrefix(p.text, `"`) {
		v := p.token()
		return v, v != ""
	}
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '"':
			p.text = p.text[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(p.text) {
				b.WriteByte(p.text[i])
			}
		default:
			b.WriteByte(p.text[i])
		}
	}
	p.text = ""
	return "", false
}

// choose takes the challenge that can be answered, bearer tokens first.
func choose(all []challenge) (challenge, bool) {
	for _, scheme := range []string{"bearer", "basic"} {
		for _, c := range all {
			if c.scheme == scheme {
				return c, true
			}
		}
	}
	return challenge{}, false
}

// basic is the Authorization header of basic authentication.
func basic(e Endpoint) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(e.Username+":"+e.Password))
}

func (e Endpoint) anonymous() bool { return e.Username == "" && e.Password == "" }

// secretsOf is what must not come out of any error.
func secretsOf(e Endpoint, authorization string) []string {
	all := []string{e.Password}
	if !e.anonymous() {
		all = append(all, strings.TrimPrefix(basic(e), "Basic "))
	}
	if _, value, ok := strings.Cut(authorization, " "); ok {
		all = append(all, value)
	}
	return all
}

// identity is a key for what belongs to a registry and a credential. Passwords
// are not kept in it.
func identity(s site, e Endpoint) string {
	sum := sha256.Sum256([]byte(e.Username + "\x00" + e.Password))
	key := s.base.String() + " " + hex.EncodeToString(sum[:])
	if s.via {
		key = "via " + key
	}
	return key
}

// authorization is the header for a call to a registry that has been logged in to
// before, "" where it has not.
func (c *Client) authorization(ctx context.Context, t call) (string, error) {
	key := identity(t.site, t.e) + " " + t.repo
	remembered, ok := c.logins.challenge(key)
	if !ok {
		return "", nil
	}
	header, err := c.answer(ctx, t, remembered, "")
	if err != nil {
		c.logins.forget(key) // the registry may have another token server by now
	}
	return header, err
}

// login answers a registry's challenge.
func (c *Client) login(ctx context.Context, t call, headers []string, stale string) (string, error) {
	ch, ok := choose(parseChallenges(headers))
	if !ok {
		return "", t.fail(Unauthorized, http.StatusUnauthorized, "refuses us and names no way to log in that is known here")
	}
	header, err := c.answer(ctx, t, ch, stale)
	if err != nil {
		return "", err
	}
	c.logins.remember(identity(t.site, t.e)+" "+t.repo, ch)
	return header, nil
}

func (c *Client) answer(ctx context.Context, t call, ch challenge, stale string) (string, error) {
	if ch.scheme == "basic" {
		switch {
		case t.e.anonymous():
			return "", t.fail(Unauthorized, http.StatusUnauthorized, "asks for a user name and a password, and none are set")
		case basic(t.e) == stale:
			return "", t.fail(Unauthorized, http.StatusUnauthorized, "refuses the user name and password")
		}
		return basic(t.e), nil
	}
	realm, err := url.Parse(ch.params["realm"])
	if err != nil {
		return "", t.fail(Invalid, http.StatusUnauthorized, "names a token server whose address cannot be read")
	}
	if why := t.site.mayFetchToken(realm); why != "" {
		return "", t.fail(Refused, http.StatusUnauthorized, "wants us to log in at %q: %s", clip(realm.Host), why)
	}
	scope := ch.params["scope"]
	if scope == "" && t.repo != "" {
		scope = "repository:" + t.repo + ":pull"
	}
	query := realm.Query()
	if service := ch.params["service"]; service != "" {
		query.Set("service", service)
	}
	if scope != "" {
		query.Del("scope")
		for one := range strings.FieldsSeq(scope) {
			query.Add("scope", one)
		}
	}
	realm.RawQuery, realm.Fragment = query.Encode(), ""
	key := identity(t.site, t.e) + " " + realm.String()
	token, err := c.logins.token(ctx, key, strings.TrimPrefix(stale, "Bearer "), func(ctx context.Context) (string, time.Time, error) {
		return c.fetchToken(ctx, t, realm)
	})
	if errors.Is(err, errGone) {
		return "", t.ended(ctx)
	}
	if err != nil {
		return "", err
	}
	return "Bearer " + token, nil
}

// fetchToken asks a token server, as the docker token specification has it: GET
// with basic authentication. Redirects are not followed, since they would take the
// credentials along.
func (c *Client) fetchToken(ctx context.Context, t call, realm *url.URL) (string, time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeouts.Manifest, errSlow)
	defer cancel()
	t.method, t.at, t.login = http.MethodGet, realm, true
	header := http.Header{"Accept": {"application/json"}}
	if !t.e.anonymous() {
		header.Set("Authorization", basic(t.e))
	}
	asked := c.clock.Now()
	resp, err := c.send(ctx, t, header, basic(t.e))
	if err != nil {
		return "", time.Time{}, err
	}
	defer drain(resp)
	if resp.StatusCode/100 == 3 {
		return "", time.Time{}, t.fail(Refused, resp.StatusCode, "redirects us where credentials are not taken")
	}
	if resp.StatusCode != http.StatusOK {
		return "", time.Time{}, c.statusFailure(t, resp)
	}
	body, err := c.readAll(ctx, t, resp, maxTokenAnswer)
	if err != nil {
		return "", time.Time{}, err
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"` // some write it as 300.0
	}
	if json.Unmarshal(body, &answer) != nil {
		return "", time.Time{}, t.fail(Invalid, resp.StatusCode, "gives no token that can be read")
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", time.Time{}, t.fail(Invalid, resp.StatusCode, "gives no token that could be sent")
	}
	life := tokenLife
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, (24*time.Hour).Seconds()) * float64(time.Second))
	}
	return token, asked.Add(life - min(tokenMargin, life/5)), nil
}

// logins remembers challenges and tokens.
type logins struct {
	now func() time.Time

	mu         sync.Mutex
	challenges map[string]challenge
	tokens     map[string]bearer
	flights    map[string]*flight
}

type bearer struct {
	token string
	until time.Time
}

// flight is a token that is being fetched, and those who wait for it.
type flight struct {
	done    chan struct{}
	waiters int
	cancel  context.CancelFunc
	token   string
	err     error
}

func newLogins(now func() time.Time) *logins {
	return &logins{now: now, challenges: map[string]challenge{}, tokens: map[string]bearer{}, flights: map[string]*flight{}}
}

func (l *logins) challenge(key string) (challenge, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch, ok := l.challenges[key]
	return ch, ok
}

func (l *logins) remember(key string, ch challenge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.challenges) >= maxRemembered {
		clear(l.challenges)
	}
	l.challenges[key] = ch
}

func (l *logins) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.challenges, key)
}

// errGone is what a waiter gets whose context has ended.
var errGone = errors.New("upstream: nobody waits for the token")

// token is a token that is good for a while and is not stale. One fetch serves
// all who want it at the same time, and goes on while any of them waits. errGone says that
// ctx has ended.
func (l *logins) token(ctx context.Context, key, stale string, fetch func(context.Context) (string, time.Time, error)) (string, error) {
	l.mu.Lock()
	if b, ok := l.tokens[key]; ok && b.token != stale && l.now().Before(b.until) {
		l.mu.Unlock()
		return b.token, nil
	}
	f := l.flights[key]
	if f == nil {
		fetching, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		l.flights[key] = f
		go l.fly(fetching, key, f, fetch)
	}
	f.waiters++
	l.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
		if l.flights[key] == f {
			delete(l.flights, key)
		}
	}
	return "", errGone
}

func (l *logins) fly(ctx context.Context, key string, f *flight, fetch func(context.Context) (string, time.Time, error)) {
	defer f.cancel()
	token, until, err := fetch(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	f.token, f.err = token, err
	if l.flights[key] == f {
		delete(l.flights, key)
	}
	if err == nil {
		if len(l.tokens) >= maxRemembered {
			maps.DeleteFunc(l.tokens, func(_ string, b bearer) bool { return !l.now().Before(b.until) })
		}
		if len(l.tokens) >= maxRemembered {
			clear(l.tokens)
		}
		l.tokens[key] = bearer{token: token, until: until}
	}
	close(f.done)
}
