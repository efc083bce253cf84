//! Does every link on a page lead somewhere, and does everything that should have its place on a page have one?
//! Given all pages, follows the links to files and headings, and looks for each alert's section.
//! Never goes to the network: addresses are only looked at by whoever follows them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::{pages, text_of};

const OPERATING: &str = "deploy/OPERATING.md";
const RULES: &str = include_str!("../../deploy/alerts/reseller-gateway.rules.yml");

/// The lines outside fenced blocks.
fn prose(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    };
    page.lines().filter(|line| outside(line)).collect()
}

/// The anchor of each heading, as GitHub makes it.
fn anchors(page: &str) -> Vec<String> {
    let headings =
        prose(page).into_iter().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    let mut found: Vec<String> = Vec::new();
    for heading in headings {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = found.iter().filter(|other| **other == anchor).count();
        found.push(if times == 0 { anchor } else { format!("{anchor}-{times}") });
    }
    found
}

/// Where a page's links lead: `[text](target)` and `[name]: target`.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(page) {
        // What is code is no link.
        let text: String = line.split('`').step_by(2).collect();
        found.extend(
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()),
        );
        let defined = text.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        found.extend(defined.map(|(_, target)| target.to_owned()));
    }
    found
}

/// A file beside a page, from the root of the repository.
fn beside(page: &str, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in Path::new(page).parent().unwrap().join(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{page}: {target} is outside the repository"),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for link in links(&text_of(&page)).into_iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, at)| (file, Some(at)));
            let file = if file.is_empty() { PathBuf::from(&page) } else { beside(&page, file) };
            if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).exists() {
                wrong.push(format!("{page}: {link}: no such file"));
            } else if let Some(anchor) = anchor
                && !anchors(&text_of(file.to_str().unwrap())).iter().any(|known| known == anchor)
            {
                wrong.push(format!("{page}: {link}: no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "only {seen} links were seen");
}

#[test]
fn every_page_is_found_from_the_first_and_the_first_is_short() {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut next = vec!["README.md".to_owned()];
    while let Some(page) = next.pop() {
        for link in links(&text_of(&page)).into_iter().filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = beside(&page, link.split('#').next().unwrap()).to_str().unwrap().to_owned();
            if file.ends_with(".md") && reached.insert(file.clone()) {
                next.push(file);
            }
        }
    }
    let lost: Vec<String> = pages().into_iter().filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
    let size = text_of("README.md").len();
    assert!(size <= 10 << 10, "README.md has {size} bytes; it is for who comes first, the rest has other pages");
}

/// `help` prints pages that are not below `src`: an image could not be built without them.
#[test]
fn the_container_is_built_from_every_page_that_the_program_holds() {
    let guide = text_of("src/guide.rs");
    let held: Vec<&str> = guide.split("include_str!(\"../").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(held.len(), 2, "{held:?}");
    for page in held {
        let folder = Path::new(page).parent().unwrap().display();
        let (copied, taken) = (format!("COPY {page} {folder}/"), format!("!{page}"));
        assert!(text_of("deploy/container/Containerfile").lines().any(|line| line == copied), "{copied}");
        assert!(text_of("deploy/container/Containerfile.dockerignore").lines().any(|line| line == taken), "{taken}");
    }
}

#[test]
fn each_alert_has_its_section_and_each_section_its_alert() {
    let page = text_of(OPERATING);
    let alerts = page.split("\n## Alerts\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let sections: Vec<(&str, &str)> =
        alerts.split("\n### ").skip(1).map(|text| text.split_once('\n').unwrap()).collect();
    let rules: Vec<(&str, &str)> =
        RULES.split("- alert: ").skip(1).map(|text| text.split_once('\n').unwrap()).collect();
    assert!(rules.len() > 20, "{}", rules.len());
    for (alert, rule) in &rules {
        let section = sections.iter().find(|(heading, _)| heading == alert);
        let (_, text) = section.unwrap_or_else(|| panic!("{OPERATING} has no section for {alert}"));
        let severity = rule.split_once("severity: ").unwrap().1.lines().next().unwrap();
        let begins = text.to_lowercase().starts_with(&format!("{severity}. "));
        assert!(begins, "the section of {alert} does not begin with its severity, {severity}");
        assert!(text.contains("\n- "), "the section of {alert} does not say what to do");
        let runbook = rule.split_once("runbook_url: ").map(|(_, rest)| rest.lines().next().unwrap().trim_matches('"'));
        let anchor = format!("OPERATING.md#{}", alert.to_lowercase());
        assert!(runbook.is_none_or(|url| url.ends_with(&anchor)), "{alert}: {runbook:?}");
    }
    assert_eq!(sections.len(), rules.len(), "an alert has two sections");
    for (heading, _) in sections {
        assert!(rules.iter().any(|(alert, _)| *alert == heading), "there is no alert {heading}");
    }
}

#[test]
fn a_link_a_heading_and_their_anchor_are_read_as_github_reads_them() {
    let page = "# What it is: `a/b`, \"c\"\n[one](x.md#y) and `[no](link)`\n```sh\n# no heading\n[no](link)\n```\n## One\n## One\n[two]: z.md\n";
    assert_eq!(anchors(page), ["what-it-is-ab-c", "one", "one-1"]);
    assert_eq!(links(page), ["x.md#y", "z.md"]);
}
