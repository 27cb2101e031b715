// Package quotas is the commands of `berth quota`: the quotas of accounts, and the
// requests for more of one.
//
// It does no work itself; the running server does, over its administration socket
// (app/quotaadmin).
package quotas

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/quotaadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth quota`.
type Command struct {
	List     quotaList       `cmd:"" help:"List all quotas and request rates with the values that hold."`
	Set      quotaSet        `cmd:"" help:"Give an account, or one repository of it, a value of its own."`
	Unset    quotaUnset      `cmd:"" help:"Give such a value up, so that the server's holds again."`
	Requests requestsCommand `cmd:"" help:"List what accounts have asked for with the Service Quotas API."`
	Approve  approveCommand  `cmd:"" help:"Approve such a request: the account gets the value in all its regions."`
	Deny     denyCommand     `cmd:"" help:"Deny such a request."`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// ownerFlags say whose quotas are meant.
type ownerFlags struct {
	common
	Account    name.AccountID  `help:"Account (default: the server's)."`
	Repository name.Repository `help:"One repository of the account, in all its regions; for repository-storage-bytes."`
}

type quotaList struct{ ownerFlags }

// Run lists the quotas.
func (c quotaList) Run(ctx context.Context, out io.Writer, call Admin) error {
	query := url.Values{"account": {string(c.Account)}, "repository": {string(c.Repository)}}
	var list quotaadmin.List
	if err := call(ctx, c.Data, http.MethodGet, "/quotas?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, list)
	}
	t := console.NewTable(out, "NAME", "VALUE", "DEFAULT", "UNIT", "SET", "TITLE")
	for _, v := range list.Quotas {
		t.Row(v.Name, v.Text(v.Value), v.Text(v.Default), string(v.Unit), v.Set, v.Title)
	}
	return t.Flush()
}

type quotaSet struct {
	ownerFlags
	Name  string `arg:"" help:"Name of the quota, such as images-per-repository or rate:PutImage; see berth quota list."`
	Value string `arg:"" help:"Its value: a number, for bytes also such as 10GiB, or unlimited where that can be."`
}

// Run sets a quota.
func (c quotaSet) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.change(ctx, out, call, quotaadmin.Request{Do: "set", Name: c.Name, Value: c.Value})
}

type quotaUnset struct {
	ownerFlags
	Name string `arg:"" help:"Name of the quota; see berth quota list."`
}

// Run gives a quota's own value up.
func (c quotaUnset) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.change(ctx, out, call, quotaadmin.Request{Do: "unset", Name: c.Name})
}

// change sends the change and prints what holds after it.
func (c ownerFlags) change(ctx context.Context, out io.Writer, call Admin, in quotaadmin.Request) error {
	in.Account, in.Repository = c.Account, c.Repository
	var list quotaadmin.List
	if err := call(ctx, c.Data, http.MethodPost, "/quotas", in, &list); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, list)
	}
	of := "account " + string(list.Account)
	if list.Repository != "" {
		of = "repository " + string(list.Repository) + " of " + of
	}
	if len(list.Quotas) == 0 { // a rate that nobody else has
		list.Quotas = []quota.Value{{Name: in.Name, Unlimited: true}}
	}
	for _, v := range list.Quotas {
		note := ""
		if v.Set == "" {
			note = ", the server's value"
		}
		if _, err := fmt.Fprintf(out, "%s of %s: %s%s\n", v.Name, of, v.Text(v.Value), note); err != nil {
			return err
		}
	}
	return nil
}
