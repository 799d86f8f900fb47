package schedule

import (
	"time"

	"github.com/google/uuid"

	"reeve/server/fleet"
	"reeve/tenants/calendar"
)

// How long tasks stay good when nobody said: work that is skipped when late has a little time for the
// devices that are there, everything else a week.
const (
	promptly = 15 * time.Minute
	aWeek    = 7 * 24 * time.Hour
	// maxOpenings bounds the windows that a task carries.
	maxOpenings = 60
)

// plannedOrder is an order, and the devices that cannot be in it.
type plannedOrder struct {
	Order
	held []heldDevice
}

// heldDevice is a device on which the run cannot start before it expires.
type heldDevice struct {
	target fleet.Target
	reason Reason
}

// order decides when each device may start, and until when. Blackouts of a tenant hold for its devices
// also when the schedule is the provider's.
func (sch Schedule) order(run fired, reach []fleet.Target, blackouts freezes, now time.Time) plannedOrder {
	o := plannedOrder{Order: Order{Schedule: sch, Start: now, Spread: time.Duration(sch.JitterSeconds) * time.Second}}
	if run.At.After(now) {
		o.Start = run.At
	}
	common := sch.startsOf(run, blackouts.holding(sch.TenantID))
	o.Expires = sch.expiry(run, o.Order, common)
	span := calendar.Period{Start: o.Start, End: o.Expires}
	o.Open = common.within(span)
	reasons := map[uuid.UUID]Reason{} // of tenants whose devices cannot start
	for _, tenant := range tenantsOf(reach) {
		starts, open := common, o.Open
		if tenant != sch.TenantID && len(blackouts[tenant]) > 0 {
			starts = sch.startsOf(run, blackouts.holding(tenant))
			open = starts.within(span)
			if o.OpenIn == nil {
				o.OpenIn = map[uuid.UUID][]calendar.Period{}
			}
			o.OpenIn[tenant] = open
		}
		if len(open) == 0 {
			reasons[tenant] = starts.whyNot(o.Start)
			delete(o.OpenIn, tenant)
		}
	}
	for _, t := range reach {
		if reason, held := reasons[t.TenantID]; held {
			o.held = append(o.held, heldDevice{t, reason})
		} else {
			o.Devices = append(o.Devices, t)
		}
	}
	if sch.Window == nil && len(blackouts.holding(sch.TenantID)) == 0 {
		o.Open = nil // any time
	}
	return o
}

// expiry is until when the tasks of a run are worth starting.
func (sch Schedule) expiry(run fired, o Order, starts starts) time.Time {
	expires := o.Start.Add(o.Spread + aWeek)
	if seconds := sch.What.TaskExpiresSeconds; seconds != nil {
		expires = o.Start.Add(o.Spread + time.Duration(*seconds)*time.Second)
	}
	if run.ExpiresAt != nil && run.ExpiresAt.Before(expires) {
		expires = *run.ExpiresAt
	}
	if run.Zone != "" && sch.CatchUp.effective(sch.Recurrence) == Skip {
		prompt := o.Start.Add(o.Spread + promptly)
		if until, open := starts.openings.OpenAt(o.Start); open && sch.Window != nil {
			prompt = until
		}
		if prompt.Before(expires) {
			expires = prompt
		}
	}
	if least := o.Start.Add(o.Spread + time.Minute); expires.Before(least) {
		expires = least
	}
	return expires
}

// starts are the times in which work that takes need may begin.
type starts struct {
	openings Openings
	need     time.Duration
}

// startsOf knows that a run by hand, and one that is to happen as soon as possible and whose time has
// come, need no window; no run starts in a blackout.
func (sch Schedule) startsOf(run fired, blackouts []Blackout) starts {
	st := starts{need: sch.What.expectedRun()}
	if sch.Window != nil && sch.Window.AllowOverrun {
		st.need = 0
	}
	if run.Zone == "" || sch.CatchUp.effective(sch.Recurrence) == RunASAP {
		sch.Window = nil
	}
	st.openings = sch.openings(run.Zone, blackouts)
	return st
}

func (st starts) whyNot(at time.Time) Reason {
	if reason, ok := st.openings.MayStart(at, st.need, false); !ok {
		return reason
	}
	return MissedWindow
}

// within lists the times in a span at which the work may begin and still fit.
func (st starts) within(span calendar.Period) (list []calendar.Period) {
	from := span.Start
	for len(list) < maxOpenings {
		open, ok := st.openings.NextOpening(from, st.need)
		if !ok || !open.Start.Before(span.End) {
			break
		}
		if n := len(list); n > 0 && !list[n-1].End.Before(open.Start) {
			list[n-1].End = open.End
		} else {
			list = append(list, open)
		}
		from = open.End
	}
	for i := range list {
		// A start at the very last moment that fits counts.
		list[i].End = list[i].End.Add(time.Second - st.need)
		if st.need == 0 {
			list[i].End = list[i].End.Add(-time.Second)
		}
	}
	return list
}
