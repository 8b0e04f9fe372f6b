use clap::Args;

use super::Place;
use crate::cli::{Setting, confirm};
use crate::error::{Error, Kind, Result};
use crate::{lake, output, pipeline};

/// Give the lake as it is a name, such as a month-end close, that is kept until the tag is removed; or list the tags
#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The tag, for example FY26-P02; without it all tags are listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The lake as it was then, by commit time (2026-08-31T23:59:59Z), or the name of another tag
    #[arg(long, value_name = "TIME|TAG", requires = "name")]
    as_of: Option<String>,
    /// Remove the tag: what it kept goes with the next clean-up that does not need it
    #[arg(long, requires = "name", conflicts_with = "as_of")]
    delete: bool,
    /// Remove it without asking; needed where nobody sits at a terminal
    #[arg(long, requires = "delete")]
    yes: bool,
}

const SCHEMA: &str = "payoutlake.tag.v1";

impl Tag {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let Some(name) = &self.name else { return list(place, setting).await };
        let settings = place.settings("tag", setting).await?;
        let (tag, done) = if self.delete {
            let lake = settings.open_lake().await?;
            let tag = lake::Tag::find(&lake, name).await?;
            if !self.yes {
                confirm(&format!("remove the tag {name} of {}?", tag.created_at), || unconfirmed(&tag))?;
            }
            (lake::Tag::delete(&lake, name).await?, "removed")
        } else {
            (pipeline::tag(&settings, name, self.as_of.as_deref()).await?, "keeps")
        };
        if setting.style.json {
            output::print_json(SCHEMA, &tag);
        } else if !setting.style.quiet {
            output::say(&format!("tag {}: {done}\n{}", tag.name, versions(&tag)));
        }
        Ok(0)
    }
}

fn unconfirmed(tag: &lake::Tag) -> Error {
    Error::new(Kind::Usage, format!("the tag '{}' is removed only with --yes", tag.name))
        .with("created", tag.created_at)
        .hint(
            "add --yes; the versions that only this tag keeps are gone with the next `payoutlake lake maintain`; \
             nothing was changed",
        )
}

async fn list(place: &Place, setting: &Setting) -> Result<u8> {
    let lake = place.open(setting).await?;
    let tags = lake::Tag::all(&lake).await?;
    if setting.style.json {
        tags.iter().for_each(|tag| output::print_json(SCHEMA, tag));
        return Ok(0);
    }
    if tags.is_empty() && !setting.style.quiet {
        output::say("no tags yet: `payoutlake lake tag NAME` makes one\n");
        return Ok(0);
    }
    let rows: Vec<_> = tags
        .iter()
        .map(|tag| {
            let newest = tag.tables.iter().map(|tagged| tagged.committed_at).max();
            let newest = newest.map(|at| at.to_string()).unwrap_or_default();
            [tag.name.clone(), tag.created_at.to_string(), newest, tag.tables.len().to_string()]
        })
        .collect();
    output::print(&output::table(["tag", "made", "the lake as it was", ">tables"], &rows));
    Ok(0)
}

fn versions(tag: &lake::Tag) -> String {
    let line = |tagged: &lake::Tagged| {
        format!("  {}: version {} of {}\n", tagged.chain, tagged.version, tagged.committed_at)
    };
    tag.tables.iter().map(line).collect()
}
