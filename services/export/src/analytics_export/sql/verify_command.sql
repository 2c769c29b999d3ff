-- any_job --
-- By id alone: for the operator's command line, which serves every organisation.
SELECT * FROM analytics.export_jobs WHERE job_id = $1
