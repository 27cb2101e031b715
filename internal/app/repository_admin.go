package app

import (
	"net/http"

	"github.com/berth-registry/berth/internal/app/repositoryadmin"
	"github.com/berth-registry/berth/internal/domain/name"
)

// repositoryRoutes adds the administration of repositories: their settings, and
// what was deleted and can be restored.
func (a *App) repositoryRoutes(mux *http.ServeMux) {
	s := repositoryadmin.Service{
		Repositories: a.repositories, Recovery: a.recovery, Restored: a.publishing.Gallery.Touch, Default: name.Registry{Account: a.cfg.Account, Region: a.cfg.Region},
	}
	mux.HandleFunc("POST /repositories/settings", adminJSON(withBody(s.Settings)))
	mux.HandleFunc("POST /repositories/deleted/list", adminJSON(withBody(s.List)))
	mux.HandleFunc("POST /repositories/deleted/restore", adminJSON(withBody(s.Restore)))
	mux.HandleFunc("POST /repositories/deleted/purge", adminJSON(withBody(s.Purge)))
}
