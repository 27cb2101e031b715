package gallery

import (
	"hash/fnv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
)

// card is a repository in a list.
type card struct {
	Path, Alias, Name, Publisher string
	Verified                     bool
	Description                  string
	Systems, Architectures       []string
	Downloads, Images            int64
	Pushed, Created              time.Time
	Picture                      picture
}

// picture is a logo, or a letter on one of a few colours.
type picture struct {
	Logo   string
	Lazy   bool // it may be loaded when it comes into sight
	Letter string
	Tone   uint32
}

const tones = 6

// maxBadges are the badges that a list shows; a publisher may write fifty.
const maxBadges = 8

func cardOf(r gallery.Repository) card {
	c := card{
		Path: "/" + string(r.Alias) + "/" + string(r.Name), Alias: string(r.Alias), Name: string(r.Name),
		Publisher: clean(r.DisplayName), Verified: r.Verified, Description: clean(r.Data.Description),
		Systems: badges(r.Data.OperatingSystems), Architectures: badges(r.Data.Architectures),
		Downloads: r.Downloads, Images: r.Images, Pushed: r.PushedAt, Created: r.CreatedAt,
		Picture: pictureOf(string(r.Alias), string(r.Name)),
	}
	if path := logoPath(r.Data.Logo); r.Verified && logoName.MatchString(strings.TrimPrefix(path, logoPrefix)) {
		c.Picture.Logo = path
	}
	return c
}

func cardsOf(all []gallery.Repository) []card {
	cards := make([]card, 0, len(all))
	for _, r := range all {
		c := cardOf(r)
		c.Picture.Lazy = true
		cards = append(cards, c)
	}
	return cards
}

func pictureOf(alias, name string) picture {
	h := fnv.New32a()
	_, _ = h.Write([]byte(alias)) // a hash takes everything
	last := name[strings.LastIndexByte(name, '/')+1:]
	if last == "" {
		last = alias
	}
	return picture{Letter: strings.ToUpper(last[:1]), Tone: h.Sum32() % tones}
}

func badges(names []string) []string {
	var all []string
	for _, n := range names {
		if n = clean(n); n != "" && len(all) < maxBadges {
			all = append(all, n)
		}
	}
	return all
}
