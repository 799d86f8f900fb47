package rest

import (
	"context"

	. "reeve/api"
	"reeve/server/scripts"
)

// scriptHandlers serve the library of scripts.
type scriptHandlers struct{ scripts *scripts.Service }

func (h scriptHandlers) ListScripts(ctx context.Context, r ListScriptsRequestObject) (ListScriptsResponseObject, error) {
	p := r.Params
	page, next, err := h.scripts.List(ctx, scripts.Filter{TenantID: p.TenantID, Text: p.Q, Platform: text(p.Platform), Archived: value(p.Archived)},
		value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListScripts200JSONResponse{Items: each(page, scriptOut), NextCursor: optional(next)}, nil
}

func (h scriptHandlers) CreateScript(ctx context.Context, r CreateScriptRequestObject) (CreateScriptResponseObject, error) {
	b := r.Body
	made, err := h.scripts.Create(ctx, scripts.NewScript{TenantID: value(b.TenantID), Name: b.Name, Description: value(b.Description),
		Platforms: each(b.Platforms, osFamilyIn), Note: value(b.Note),
		Text: scripts.Text{Interpreter: string(b.Interpreter), Body: b.Body, Parameters: each(value(b.Parameters), parameterIn),
			TimeoutSeconds: value(b.TimeoutSeconds), RunAs: string(value(b.RunAs))}})
	if err != nil {
		return nil, err
	}
	return CreateScript201JSONResponse(scriptOut(made)), nil
}

func (h scriptHandlers) GetScript(ctx context.Context, r GetScriptRequestObject) (GetScriptResponseObject, error) {
	found, err := h.scripts.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetScript200JSONResponse(scriptOut(found)), nil
}

func (h scriptHandlers) UpdateScript(ctx context.Context, r UpdateScriptRequestObject) (UpdateScriptResponseObject, error) {
	b := r.Body
	c := scripts.Change{Version: int64(b.Version), Name: b.Name, Description: b.Description, Interpreter: text(b.Interpreter), Body: b.Body,
		TimeoutSeconds: b.TimeoutSeconds, RunAs: text(b.RunAs), Archived: b.Archived, Note: value(b.Note)}
	if b.Platforms != nil {
		platforms := each(*b.Platforms, osFamilyIn)
		c.Platforms = &platforms
	}
	if b.Parameters != nil {
		parameters := each(*b.Parameters, parameterIn)
		c.Parameters = &parameters
	}
	changed, err := h.scripts.Update(ctx, r.ID, c)
	if err != nil {
		return nil, err
	}
	return UpdateScript200JSONResponse(scriptOut(changed)), nil
}

func (h scriptHandlers) ListScriptVersions(ctx context.Context, r ListScriptVersionsRequestObject) (ListScriptVersionsResponseObject, error) {
	page, next, err := h.scripts.Versions(ctx, r.ID, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListScriptVersions200JSONResponse{Items: each(page, func(v scripts.Version) ScriptVersion {
		return ScriptVersion{Number: v.Number, Interpreter: Interpreter(v.Interpreter), Body: v.Body, Parameters: each(v.Parameters, parameterOut),
			TimeoutSeconds: v.TimeoutSeconds, RunAs: RunAs(v.RunAs), Note: v.Note, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt.UTC()}
	}), NextCursor: optional(next)}, nil
}

func scriptOut(s scripts.Script) Script {
	return Script{ID: s.ID, TenantID: s.TenantID, Name: s.Name, Description: s.Description,
		Platforms:   each(s.Platforms, func(p string) OsFamily { return OsFamily(p) }),
		Interpreter: Interpreter(s.Interpreter), Body: s.Body, Parameters: each(s.Parameters, parameterOut), TimeoutSeconds: s.TimeoutSeconds,
		RunAs: RunAs(s.RunAs), Number: s.Number, Archived: s.Archived, Version: int(s.Version), CreatedBy: s.CreatedBy,
		CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC()}
}

func osFamilyIn(f OsFamily) string { return string(f) }

func parameterIn(p ScriptParameter) scripts.Parameter {
	return scripts.Parameter{Name: p.Name, Label: value(p.Label), Type: scripts.Type(p.Type), Required: value(p.Required),
		Default: value(p.Default), Options: value(p.Options), Description: value(p.Description)}
}

func parameterOut(p scripts.Parameter) ScriptParameter {
	out := ScriptParameter{Name: p.Name, Label: optional(p.Label), Type: ScriptParameterType(p.Type), Required: optional(p.Required),
		Default: optional(p.Default), Description: optional(p.Description)}
	if len(p.Options) > 0 {
		out.Options = &p.Options
	}
	return out
}
