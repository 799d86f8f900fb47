package rest

import (
	"context"

	. "reeve/api"
	"reeve/server/fleet"
	"reeve/server/tasks"
)

// deviceHandlers serve devices, their inventory and timeline, tags and saved filters.
type deviceHandlers struct {
	fleet *fleet.Service
	tasks *tasks.Service // for a fresh inventory
}

func (h deviceHandlers) ListDevices(ctx context.Context, r ListDevicesRequestObject) (ListDevicesResponseObject, error) {
	p := r.Params
	q := fleet.Query{TenantID: p.TenantID, SiteID: p.SiteID, Tag: p.Tag, State: text(p.State), Presence: text(p.Presence), OSFamily: text(p.OsFamily),
		Text: p.Q, FilterID: p.FilterID, Filter: p.Filter, Sort: string(value(p.Sort)), Cursor: value(p.Cursor), Limit: value(p.Limit), WithTotal: value(p.WithTotal)}
	page, err := h.fleet.List(ctx, q)
	if err != nil {
		return nil, err
	}
	return ListDevices200JSONResponse{Items: each(page.Items, deviceOut), NextCursor: optional(page.Next), Total: page.Total}, nil
}

func deviceOut(d fleet.Device) Device {
	return Device{ID: d.ID, TenantID: d.TenantID, TenantName: d.TenantName, SiteID: d.SiteID, SiteName: d.SiteName, Name: d.Name, Hostname: d.Hostname,
		State: DeviceState(d.State), StateReason: d.StateReason, Presence: Presence(d.Presence), LastSeenAt: d.LastSeenAt,
		OsFamily: OsFamily(d.OSFamily), OsName: d.OSName, OsVersion: d.OSVersion, Arch: d.Arch, Kind: DeviceKind(d.Kind),
		Manufacturer: d.Manufacturer, Model: d.Model, Serial: d.Serial, Addresses: list(d.Addresses), Zone: d.Zone,
		LoggedInUsers: list(d.LoggedInUsers), AgentVersion: d.AgentVersion, ClockSkewMs: d.ClockSkewMS, BootAt: d.BootAt, Simulated: d.Simulated,
		Tags: list(d.Tags), Notes: d.Notes, Version: int(d.Version), EnrolledAt: d.EnrolledAt, RetiredAt: d.RetiredAt}
}

func (h deviceHandlers) GetDevice(ctx context.Context, r GetDeviceRequestObject) (GetDeviceResponseObject, error) {
	d, err := h.fleet.Device(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) UpdateDevice(ctx context.Context, r UpdateDeviceRequestObject) (UpdateDeviceResponseObject, error) {
	b := r.Body
	d, err := h.fleet.Update(ctx, r.ID, fleet.DeviceChange{Version: int64(b.Version), Name: b.Name, SiteID: b.SiteID, Notes: b.Notes, Kind: text(b.Kind)})
	if err != nil {
		return nil, err
	}
	return UpdateDevice200JSONResponse(deviceOut(d)), nil
}

func moveIn(b *StateChange) fleet.Move {
	return fleet.Move{Version: int64(b.Version), Reason: value(b.Reason)}
}

func (h deviceHandlers) ApproveDevice(ctx context.Context, r ApproveDeviceRequestObject) (ApproveDeviceResponseObject, error) {
	d, err := h.fleet.Approve(ctx, r.ID, moveIn(r.Body))
	if err != nil {
		return nil, err
	}
	return ApproveDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) RejectDevice(ctx context.Context, r RejectDeviceRequestObject) (RejectDeviceResponseObject, error) {
	d, err := h.fleet.Reject(ctx, r.ID, moveIn(r.Body))
	if err != nil {
		return nil, err
	}
	return RejectDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) QuarantineDevice(ctx context.Context, r QuarantineDeviceRequestObject) (QuarantineDeviceResponseObject, error) {
	d, err := h.fleet.Quarantine(ctx, r.ID, moveIn(r.Body))
	if err != nil {
		return nil, err
	}
	return QuarantineDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) ReleaseDevice(ctx context.Context, r ReleaseDeviceRequestObject) (ReleaseDeviceResponseObject, error) {
	d, err := h.fleet.Release(ctx, r.ID, moveIn(r.Body))
	if err != nil {
		return nil, err
	}
	return ReleaseDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) RetireDevice(ctx context.Context, r RetireDeviceRequestObject) (RetireDeviceResponseObject, error) {
	d, err := h.fleet.Retire(ctx, r.ID, moveIn(r.Body))
	if err != nil {
		return nil, err
	}
	return RetireDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) TagDevice(ctx context.Context, r TagDeviceRequestObject) (TagDeviceResponseObject, error) {
	d, err := h.fleet.Tag(ctx, r.ID, fleet.TagChange{Add: value(r.Body.Add), Remove: value(r.Body.Remove)})
	if err != nil {
		return nil, err
	}
	return TagDevice200JSONResponse(deviceOut(d)), nil
}

func (h deviceHandlers) TagDevices(ctx context.Context, r TagDevicesRequestObject) (TagDevicesResponseObject, error) {
	changed, err := h.fleet.TagMany(ctx, r.Body.DeviceIds, fleet.TagChange{Add: value(r.Body.Add), Remove: value(r.Body.Remove)})
	if err != nil {
		return nil, err
	}
	return TagDevices200JSONResponse{Changed: changed}, nil
}

func (h deviceHandlers) ListTags(ctx context.Context, r ListTagsRequestObject) (ListTagsResponseObject, error) {
	tags, err := h.fleet.Tags(ctx, r.Params.TenantID)
	if err != nil {
		return nil, err
	}
	return ListTags200JSONResponse{Items: each(tags, func(t fleet.TagCount) Tag { return Tag{Name: t.Name, DeviceCount: t.DeviceCount} })}, nil
}

func (h deviceHandlers) GetInventory(ctx context.Context, r GetInventoryRequestObject) (GetInventoryResponseObject, error) {
	sections, err := h.fleet.Inventory(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetInventory200JSONResponse{Sections: each(sections, func(s fleet.Section) InventorySection {
		return InventorySection{Name: s.Name, Hash: s.Hash, CollectedAt: s.CollectedAt, ReceivedAt: s.ReceivedAt, Data: s.Data}
	})}, nil
}

func (h deviceHandlers) RefreshInventory(ctx context.Context, r RefreshInventoryRequestObject) (RefreshInventoryResponseObject, error) {
	ordered, err := h.tasks.Collect(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return RefreshInventory202JSONResponse(taskOut(ordered)), nil
}

func (h deviceHandlers) ListInventoryChanges(ctx context.Context, r ListInventoryChangesRequestObject) (ListInventoryChangesResponseObject, error) {
	page, next, err := h.fleet.Changes(ctx, r.ID, r.Params.Section, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListInventoryChanges200JSONResponse{NextCursor: optional(next), Items: each(page, func(c fleet.Change) InventoryChange {
		return InventoryChange{ID: c.ID, Section: c.Section, At: c.At, Truncated: c.Truncated, Changes: each(c.Changes, func(v fleet.ValueChange) ValueChange {
			return ValueChange{Op: ValueChangeOp(v.Op), Path: v.Path, Before: v.Before, After: v.After}
		})}
	})}, nil
}

func (h deviceHandlers) ListDeviceSoftware(ctx context.Context, r ListDeviceSoftwareRequestObject) (ListDeviceSoftwareResponseObject, error) {
	page, next, err := h.fleet.Software(ctx, r.ID, r.Params.Q, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListDeviceSoftware200JSONResponse{NextCursor: optional(next), Items: each(page, func(s fleet.Software) SoftwareItem {
		return SoftwareItem{Name: s.Name, Version: s.Version, Publisher: s.Publisher, Source: s.Source, InstalledAt: s.InstalledAt}
	})}, nil
}

func (h deviceHandlers) ListTimeline(ctx context.Context, r ListTimelineRequestObject) (ListTimelineResponseObject, error) {
	page, next, err := h.fleet.Timeline(ctx, r.ID, r.Params.Kind, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListTimeline200JSONResponse{NextCursor: optional(next), Items: each(page, func(e fleet.Event) TimelineEvent {
		return TimelineEvent{ID: e.ID, At: e.At, Kind: e.Kind, Title: e.Title, Actor: e.Actor, Detail: e.Detail}
	})}, nil
}

func filterOut(f fleet.SavedFilter) SavedFilter {
	filter, _ := recode[DeviceFilter](f.Filter) // stored from this very shape
	return SavedFilter{ID: f.ID, Name: f.Name, Shared: f.Shared, Own: f.Own, Filter: filter, Version: int(f.Version)}
}

func (h deviceHandlers) ListSavedFilters(ctx context.Context, _ ListSavedFiltersRequestObject) (ListSavedFiltersResponseObject, error) {
	filters, err := h.fleet.SavedFilters(ctx)
	if err != nil {
		return nil, err
	}
	return ListSavedFilters200JSONResponse{Items: each(filters, filterOut)}, nil
}

func (h deviceHandlers) CreateSavedFilter(ctx context.Context, r CreateSavedFilterRequestObject) (CreateSavedFilterResponseObject, error) {
	filter, err := recode[fleet.Filter](r.Body.Filter)
	if err != nil {
		return nil, err
	}
	made, err := h.fleet.SaveFilter(ctx, r.Body.Name, value(r.Body.Shared), filter)
	if err != nil {
		return nil, err
	}
	return CreateSavedFilter201JSONResponse(filterOut(made)), nil
}

func (h deviceHandlers) UpdateSavedFilter(ctx context.Context, r UpdateSavedFilterRequestObject) (UpdateSavedFilterResponseObject, error) {
	c := fleet.SavedFilterChange{Version: int64(r.Body.Version), Name: r.Body.Name, Shared: r.Body.Shared}
	if r.Body.Filter != nil {
		filter, err := recode[fleet.Filter](r.Body.Filter)
		if err != nil {
			return nil, err
		}
		c.Filter = &filter
	}
	changed, err := h.fleet.UpdateFilter(ctx, r.ID, c)
	if err != nil {
		return nil, err
	}
	return UpdateSavedFilter200JSONResponse(filterOut(changed)), nil
}

func (h deviceHandlers) DeleteSavedFilter(ctx context.Context, r DeleteSavedFilterRequestObject) (DeleteSavedFilterResponseObject, error) {
	if err := h.fleet.DeleteFilter(ctx, r.ID); err != nil {
		return nil, err
	}
	return DeleteSavedFilter204Response{}, nil
}
