package schedule

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

var (
	byName = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{{SQL: "s.name_key", Kind: tenantdb.Text}, {SQL: "s.id", Kind: tenantdb.UUID}}}
	newest = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{{SQL: "x.id", Kind: tenantdb.UUID, Descending: true}}}
)

// Filter chooses schedules; nil does not restrict.
type Filter struct {
	TenantID *uuid.UUID
	Enabled  *bool
	Prefix   string // of the name, in any letter case
}

// listed is a schedule with the key that it is sorted by.
type listed struct {
	Row     row `gorm:"embedded"`
	NameKey string
}

// List is a page of schedules by name.
func (s *Service) List(ctx context.Context, f Filter, cursor string, limit int) (page []Schedule, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := permitted(tx.Table("schedules s").Select(rowColumns+", s.name_key").Where("s.deleted_at is null"), ctx, "s.tenant_id")
		if f.TenantID != nil {
			q = q.Where("s.tenant_id = ?", *f.TenantID)
		}
		if f.Enabled != nil {
			q = q.Where("s.enabled = ?", *f.Enabled)
		}
		if f.Prefix != "" {
			low, high := prefixRange(f.Prefix)
			q = q.Where("s.name_key >= ? and s.name_key < ?", low, high)
		}
		q, err := byName.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		var rows []listed
		if err := q.Scan(&rows).Error; err != nil {
			return err
		}
		rows, next = tenantdb.Next(byName, rows, limit, func(r listed) []any { return []any{r.NameKey, r.Row.ID} })
		page = make([]Schedule, len(rows))
		all := make([]*Schedule, len(rows))
		for i, r := range rows {
			if page[i], err = r.Row.schedule(); err != nil {
				return err
			}
			all[i] = &page[i]
		}
		return s.decorate(tx, all...)
	})
	return page, next, err
}

// permitted keeps rows of tenants over which the actor may read schedules.
func permitted(q *gorm.DB, ctx context.Context, column string) *gorm.DB {
	list, all := scope.From(ctx).Permitted(permRead)
	if all {
		return q
	}
	ids := make([]uuid.UUID, len(list))
	for i, id := range list {
		ids[i] = id
	}
	return q.Where(column+" in ?", ids)
}

// Get is one schedule.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (sch Schedule, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if sch, err = readable(ctx, tx, id); err != nil {
			return err
		}
		return s.decorate(tx, &sch)
	})
	return sch, err
}

func readable(ctx context.Context, tx *gorm.DB, id uuid.UUID) (Schedule, error) {
	sch, err := loadSchedule(tx, nil, id, false)
	if err == nil && !scope.From(ctx).May(permRead, sch.TenantID) {
		return Schedule{}, ErrNotFound
	}
	return sch, err
}

// decorate adds what is computed: when it runs next, when it ran last, how many runs it missed.
func (s *Service) decorate(tx *gorm.DB, list ...*Schedule) error {
	ids := make([]uuid.UUID, len(list))
	for i, sch := range list {
		ids[i] = sch.ID
	}
	if len(ids) == 0 {
		return nil
	}
	var facts []struct {
		TenantID, ID uuid.UUID
		Next, Last   *time.Time
		JobID        *uuid.UUID
		Missed       int64
	}
	err := tx.Raw(`select s.tenant_id, s.id, d.next, r.fired_at as last, r.job_id, m.missed from schedules s
		left join lateral (select min(wake_at) as next from schedule_due d where d.tenant_id = s.tenant_id and d.schedule_id = s.id) d on true
		left join lateral (select fired_at, job_id from schedule_runs r where r.schedule_id = s.id and r.tenant_id = s.tenant_id
			order by r.id desc limit 1) r on true
		left join lateral (select count(*) as missed from (select from missed_runs m where m.schedule_id = s.id
			and (m.tenant_id = s.tenant_id or s.tenant_id = reeve_provider()) and m.caught_up_at is null limit ?) m) m on true
		where s.id = any(?::uuid[])`, maxMissedCount, idList(ids)).Scan(&facts).Error
	if err != nil {
		return err
	}
	known := make(map[[2]uuid.UUID]int, len(facts))
	for i, f := range facts {
		known[[2]uuid.UUID{f.TenantID, f.ID}] = i
	}
	for _, sch := range list {
		if i, ok := known[[2]uuid.UUID{sch.TenantID, sch.ID}]; ok {
			f := facts[i]
			sch.NextRunAt, sch.LastRunAt, sch.LastJobID, sch.Missed = utc(f.Next), utc(f.Last), f.JobID, f.Missed
		}
	}
	return nil
}

// maxMissedCount is where counting what a schedule missed ends: beyond, the number says nothing more.
const maxMissedCount = 1000

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// PastRun is a run that fired.
type PastRun struct {
	ID           uuid.UUID
	NominalLocal string `gorm:"column:nominal"`
	Zone         string
	Fold         int
	At           time.Time
	FiredAt      time.Time
	CatchUp      bool
	State        string
	Reason       string
	JobID        *uuid.UUID
	Devices      int
}

// Runs is a page of what a schedule fired, newest first; it stays readable when the schedule is deleted.
func (s *Service) Runs(ctx context.Context, id uuid.UUID, cursor string, limit int) (page []PastRun, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		var owners []struct{ TenantID uuid.UUID }
		if err := tx.Raw("select tenant_id from schedules where id = ?", id).Scan(&owners).Error; err != nil {
			return err
		}
		if len(owners) == 0 || !scope.From(ctx).May(permRead, owners[0].TenantID) {
			return ErrNotFound
		}
		q, err := newest.Page(tx.Table("schedule_runs x").Where("x.schedule_id = ? and x.tenant_id = ?", id, owners[0].TenantID), cursor, limit)
		if err != nil {
			return err
		}
		if err := q.Scan(&page).Error; err != nil {
			return err
		}
		page, next = tenantdb.Next(newest, page, limit, func(r PastRun) []any { return []any{r.ID} })
		return nil
	})
	return page, next, err
}

// MissedRun is a run that did not happen at its time.
type MissedRun struct {
	ID           uuid.UUID
	ScheduleID   uuid.UUID
	DeviceID     *uuid.UUID
	DeviceName   *string
	NominalLocal string `gorm:"column:nominal"`
	Zone         string
	At           time.Time
	Reason       Reason
	NotedAt      time.Time
	CaughtUpAt   *time.Time
	Earlier      int // runs before it that were missed with it and are not listed
}

// MissedFilter chooses missed runs; nil does not restrict.
type MissedFilter struct {
	TenantID, ScheduleID, DeviceID *uuid.UUID
}

// Missed is a page of the ledger of runs that did not happen, newest first.
func (s *Service) Missed(ctx context.Context, f MissedFilter, cursor string, limit int) (page []MissedRun, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := permitted(tx.Table("missed_runs x").Select("x.*, d.name as device_name").
			Joins("left join devices d on d.tenant_id = x.tenant_id and d.id = x.device_id"), ctx, "x.tenant_id")
		for column, id := range map[string]*uuid.UUID{"x.tenant_id": f.TenantID, "x.schedule_id": f.ScheduleID, "x.device_id": f.DeviceID} {
			if id != nil {
				q = q.Where(column+" = ?", *id)
			}
		}
		q, err := newest.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		if err := q.Scan(&page).Error; err != nil {
			return err
		}
		page, next = tenantdb.Next(newest, page, limit, func(m MissedRun) []any { return []any{m.ID} })
		return nil
	})
	return page, next, err
}

// Coming is a schedule that runs soon.
type Coming struct {
	ScheduleID uuid.UUID
	Name       string
	TenantName string
	At         time.Time
}

// Coming lists the next runs, over all zones, for the dashboard.
func (s *Service) Coming(ctx context.Context, tenant *uuid.UUID, limit int) (list []Coming, enabled int64, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := permitted(tx.Table("schedules s").Where("s.enabled and s.deleted_at is null"), ctx, "s.tenant_id")
		if tenant != nil {
			q = q.Where("s.tenant_id = ?", *tenant)
		}
		q = q.Session(&gorm.Session{})
		if err := q.Count(&enabled).Error; err != nil {
			return err
		}
		return q.Select("s.id as schedule_id, s.name, t.name as tenant_name, d.wake_at as at").
			Joins("join schedule_due d on d.tenant_id = s.tenant_id and d.schedule_id = s.id and d.wake_at is not null").
			Joins("join tenants t on t.id = s.tenant_id").Order("d.wake_at").Limit(limit).Scan(&list).Error
	})
	return list, enabled, err
}

// Forecast previews a recurrence in a zone, and tells for each run whether the window lets it start.
func (s *Service) Forecast(r Recurrence, zone string, window *MaintenanceWindow, from time.Time, count int) (Forecast, []bool, error) {
	z, err := calendar.LoadZone(zone)
	if err != nil {
		return Forecast{}, nil, fault.InvalidField("/zone", err.Error())
	}
	f, err := Preview(r, z, from, count)
	if err != nil || window == nil {
		return f, nil, err
	}
	openings, err := NewOpenings([]Window{{Zone: ZoneMode(zone), Start: window.Start, DurationSeconds: window.DurationSeconds}}, nil, ZoneNames{})
	if err != nil {
		return f, nil, err
	}
	inside := make([]bool, len(f.Runs))
	for i, run := range f.Runs {
		_, inside[i] = openings.OpenAt(run.At)
	}
	return f, inside, nil
}
